import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { makeCertificate } from '../demo/certificate.js';
import type { Findings } from './findings.js';
import type { Household } from './household.js';
import type { ChaosOptions } from './options.js';
import type { Peer } from './peers/peer.js';
import { ReceiverPeer } from './peers/receiver.js';
import { SinkPeer } from './peers/sink.js';
import { ChaosRedis } from './redis.js';
import { Role } from './role.js';

const WORKERS = 3;

/** A Redis, a producer, three workers and a destination, in one directory. */
export class Site {
  readonly peer: Peer;
  readonly redis: ChaosRedis;
  readonly workers = WORKERS;
  readonly #roles: ReadonlyMap<string, Role>;

  private constructor(peer: Peer, redis: ChaosRedis, roles: readonly Role[]) {
    this.peer = peer;
    this.redis = redis;
    this.#roles = new Map(roles.map((role) => [role.name, role]));
  }

  static async start(
    household: Household,
    options: ChaosOptions,
    findings: Findings,
  ): Promise<Site> {
    await mkdir(household.path('logs'));
    const { cert, key } = await makeCertificate();
    const keyText = `${randomBytes(16).toString('hex')}\n`;
    await writeFile(household.path('cert.pem'), cert);
    await writeFile(household.path('cert.key'), key, { mode: 0o600 });
    await writeFile(household.path('key'), keyText, { mode: 0o600 });
    const redis = await ChaosRedis.start(household);
    const peer = await startPeer(household, options, findings, { cert, key, keyText });

    await writeFile(household.path('ferry.yaml'), senderConfig(peer, redis, options, '.'));
    const parts = { household, findings };
    const roles = [
      new Role({
        ...parts,
        name: 'producer',
        args: ['producer'],
        cwd: household.dir,
        started: /producer started/,
      }),
    ];
    for (let n = 1; n <= WORKERS; n += 1) {
      // With payloads in Redis a worker may be on any host: it sees nothing of the producer's.
      const elsewhere = options.payloads === 'redis';
      const cwd = elsewhere ? household.path(`worker${n}`) : household.dir;
      if (elsewhere) {
        await mkdir(cwd);
        await writeFile(
          household.path(`worker${n}`, 'ferry.yaml'),
          senderConfig({ destination: peer.destination, journals: [] }, redis, options, '..'),
        );
      }
      const started = /worker started/;
      roles.push(new Role({ ...parts, name: `worker${n}`, args: ['worker'], cwd, started }));
    }
    const site = new Site(peer, redis, roles);
    await Promise.all(roles.map((role) => role.start()));
    return site;
  }

  role(name: string): Role {
    const role = this.#roles.get(name);
    if (role === undefined) throw new Error(`no role ${name}`);
    return role;
  }

  /** Processes that ended although nobody had asked them to. */
  get endedByThemselves(): number {
    return [...this.#roles.values()].reduce((sum, role) => sum + role.endedByItself, 0);
  }

  /** Ends everything as a service manager does. */
  async stop(): Promise<void> {
    await Promise.all([...this.#roles.values()].map((role) => role.stop()));
    await this.peer.stop();
    await this.redis.stop();
  }
}

async function startPeer(
  household: Household,
  options: ChaosOptions,
  findings: Findings,
  secrets: { cert: string; key: string; keyText: string },
): Promise<Peer> {
  switch (options.peer) {
    case 'receiver':
    case 'h2':
      return ReceiverPeer.start(household, options, findings);
    case 'sink':
      return SinkPeer.start(household, options, findings, secrets);
    case 'picolisp': {
      // Only now: it is made of the tests' own support.
      const { PicolispPeer } = await import('./peers/picolisp.js');
      return PicolispPeer.start(household, options, findings);
    }
  }
}

function senderConfig(
  peer: Pick<Peer, 'destination' | 'journals'>,
  redis: ChaosRedis,
  options: ChaosOptions,
  up: string,
): string {
  return [
    `redis: ${redis.url}`,
    'state: ./state',
    `payloads: ${options.payloads}`,
    'destinations:',
    `  replica: {${peer.destination.replaceAll('./', `${up}/`)}}`,
    ...(peer.journals.length === 0 ? [] : ['journals:']),
    ...peer.journals.map((journal) => `  - {${journal}, to: replica}`),
    '',
  ].join('\n');
}
