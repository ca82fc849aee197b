import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Child, Household } from '../chaos/household.js';
import { ChaosRedis } from '../chaos/redis.js';
import { makeCertificate } from '../demo/certificate.js';
import { freePort } from '../test/support/freePort.js';
import type { WeekOptions } from './options.js';

const FERRY = fileURLToPath(new URL('../src/cli/ferry.cjs', import.meta.url));
const STOP_MS = 12_000;

/** `limits.ahead` of each route. */
export const AHEAD = 16;

export const DESTINATIONS = ['live', 'dead'] as const;
export type Destination = (typeof DESTINATIONS)[number];

/** A Redis, a producer, a worker, a destination that is there and one that is not. */
export class WeekSite {
  readonly redis: ChaosRedis;
  readonly journals: readonly string[];
  readonly #household: Household;
  readonly #ports: Record<Destination, number>;
  #producer: Child | null = null;
  #worker: Child | null = null;
  readonly #receivers: Child[] = [];
  /** File of a batch -> its size, which never changes. */
  readonly #arrived = new Map<string, number>();

  private constructor(
    household: Household,
    redis: ChaosRedis,
    journals: readonly string[],
    ports: Record<Destination, number>,
  ) {
    this.#household = household;
    this.redis = redis;
    this.journals = journals;
    this.#ports = ports;
  }

  static async make(household: Household, options: WeekOptions): Promise<WeekSite> {
    await mkdir(household.path('logs'));
    await mkdir(household.path('fifo'));
    const { cert, key } = await makeCertificate();
    await writeFile(household.path('cert.pem'), cert);
    await writeFile(household.path('cert.key'), key, { mode: 0o600 });
    await writeFile(household.path('key'), `${randomBytes(16).toString('hex')}\n`, { mode: 0o600 });
    // A sync per command would be most of the time, and no server fails here.
    const redis = await ChaosRedis.start(household, 'everysec');
    const journals = Array.from({ length: options.journals }, (_, n) => `j${n + 1}`);
    const site = new WeekSite(household, redis, journals, {
      live: await freePort(),
      dead: await freePort(),
    });
    await writeFile(household.path('ferry.yaml'), site.#config(options));
    return site;
  }

  #config({ intervalMs, spoolBytes }: WeekOptions): string {
    const destinations = DESTINATIONS.map(
      (name) =>
        `  ${name}: {host: localhost, port: ${this.#ports[name]}, url: "{journal}.r/!replica", key: ./key, tls: {ca: ./cert.pem}}`,
    );
    const limits = `limits: {ahead: ${AHEAD}, spool: ${Math.round(spoolBytes / 1024)}KiB}`;
    const journals = this.journals.map(
      (name) =>
        `  - {name: ${name}, path: fifo/${name}, to: [live, dead], interval: ${intervalMs}ms, ${limits}}`,
    );
    return [
      `redis: ${this.redis.url}`,
      'state: ./state',
      'destinations:',
      ...destinations,
      'journals:',
      ...journals,
      '',
    ].join('\n');
  }

  async start(): Promise<void> {
    await this.receive('live');
    this.#producer = await this.#role('producer', /producer started/);
    this.#worker = await this.#role('worker', /worker started/);
  }

  /** The destination is there from now on. */
  async receive(name: Destination): Promise<void> {
    await writeFile(
      this.#household.path(`${name}.yaml`),
      `receiver:
  listen: 127.0.0.1:${this.#ports[name]}
  tls: {cert: ./cert.pem, key: ./cert.key}
  data: ./${name}
  apps: [{name: "*", keys: [./key]}]
`,
    );
    const child = this.#ferry(name, ['receiver', '-c', `${name}.yaml`]);
    this.#receivers.push(child);
    await child.line(/"port":\d+/);
  }

  async stop(): Promise<void> {
    for (const child of [this.#producer, this.#worker, ...this.#receivers]) {
      const exit = await child?.stop(STOP_MS);
      if (exit !== undefined && exit?.code !== 0) throw new Error('a role did not end cleanly');
    }
    await this.redis.stop();
  }

  async #role(name: 'producer' | 'worker', started: RegExp): Promise<Child> {
    const child = this.#ferry(name, [name]);
    await child.line(started);
    return child;
  }

  #ferry(name: string, args: readonly string[]): Child {
    const words = [FERRY, ...args, '--log-format', 'json'];
    return this.#household.start(name, process.execPath, words, { cwd: this.#household.dir });
  }

  /** Resident memory of a role, in bytes. */
  async memoryOf(role: 'producer' | 'worker'): Promise<number> {
    const child = role === 'producer' ? this.#producer : this.#worker;
    if (child === null || child.isOver) throw new Error(`the ${role} has ended; see its log`);
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
  }

  async logLines(role: 'producer' | 'worker'): Promise<string[]> {
    return (await readFile(this.#household.path('logs', `${role}.log`), 'utf8')).split('\n');
  }

  journalPath(journal: string): string {
    return this.#household.path('fifo', journal);
  }

  /** Bytes of the files of a journal's spool. */
  spoolBytes(journal: string): Promise<number> {
    return bytesIn(this.#household.path('state', 'spool', journal));
  }

  /** Bytes that arrived of a journal. */
  arrivedBytes(destination: Destination, journal: string): Promise<number> {
    return bytesIn(this.#batchesDir(destination, journal), this.#arrived);
  }

  /** What arrived, in the order of acceptance. */
  async *arrived(destination: Destination, journal: string): AsyncIterable<Buffer> {
    const dir = this.#batchesDir(destination, journal);
    for (const name of (await readdir(dir)).sort()) yield readFile(join(dir, name));
  }

  #batchesDir(destination: Destination, journal: string): string {
    return this.#household.path(destination, `${journal}.r`, 'batches');
  }
}

/** @param known sizes of files that do not change */
async function bytesIn(dir: string, known?: Map<string, number>): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(dir).catch(() => [])) {
    const path = join(dir, name);
    const size =
      known?.get(path) ??
      (await stat(path).then(
        (file) => file.size,
        () => 0,
      ));
    known?.set(path, size);
    bytes += size;
  }
  return bytes;
}
