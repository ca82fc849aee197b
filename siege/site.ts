import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Child, Household } from '../chaos/household.js';
import { makeCertificate } from '../demo/certificate.js';

const FERRY = fileURLToPath(new URL('../src/cli/ferry.cjs', import.meta.url));
const HOSTILE = fileURLToPath(new URL('./hostile/hostile.js', import.meta.url));

/** Fewer than the hostile clients hold open: honest ones must get in all the same. */
const PLACES = 256;
/** Honest sources share these apps, so that they share their group commits, too. */
const APPS = 10;
const STOP_MS = 12_000;

/** The hostile clients have the key of this app: one that has leaked. */
export const HOSTILE_APP = 'hostile.r';

/** A receiver under siege: its configuration, its process, and its attackers' process. */
export class SiegeSite {
  readonly household: Household;
  readonly key: string;
  readonly ca: Buffer;
  #receiver: Child | null = null;
  #hostile: Child | null = null;
  port = 0;

  private constructor(household: Household, key: string, ca: Buffer) {
    this.household = household;
    this.key = key;
    this.ca = ca;
  }

  static async make(household: Household): Promise<SiegeSite> {
    const { cert, key } = await makeCertificate();
    const site = new SiegeSite(
      household,
      `${randomBytes(24).toString('base64')}\n`,
      Buffer.from(cert),
    );
    await mkdir(household.path('logs'), { recursive: true });
    await mkdir(household.path('srv/data'), { recursive: true });
    await writeFile(household.path('srv/cert.pem'), cert);
    await writeFile(household.path('srv/cert.key'), key, { mode: 0o600 });
    await writeFile(household.path('srv/key'), site.key, { mode: 0o600 });
    await writeFile(household.path('srv/hostile.key'), 'a key that has leaked\n', { mode: 0o600 });
    await writeFile(household.path('srv/receiver.yaml'), CONFIG);
    return site;
  }

  /** The app of an honest source. */
  appOf(source: number): string {
    return `app${source % APPS}.r`;
  }

  get dataDir(): string {
    return this.household.path('srv/data/received');
  }

  get receiver(): Child {
    if (this.#receiver === null) throw new Error('not started');
    return this.#receiver;
  }

  async startReceiver(): Promise<void> {
    const words = [FERRY, 'receiver', '-c', 'receiver.yaml', '--log-format', 'json'];
    this.#receiver = this.household.start('receiver', process.execPath, words, {
      cwd: this.household.path('srv'),
    });
    this.port = Number((await this.#receiver.line(/"port":(\d+)/))[1]);
  }

  /** Begins the attack, and answers when all of its kinds are under way. */
  async startHostile(held: number): Promise<void> {
    const words = [HOSTILE, String(this.port), String(held), HOSTILE_APP];
    this.#hostile = this.household.start('hostile', process.execPath, words, {
      cwd: this.household.path('srv'),
    });
    await this.#hostile.line(/^begun$/m);
  }

  /** Ends the attack. @returns how often each kind was tried, and how often it was let through */
  async endHostile(): Promise<Record<string, { tried: number; taken: number }>> {
    const hostile = this.#hostile;
    if (hostile === null) throw new Error('not started');
    await hostile.stop(STOP_MS);
    const log = await readFile(this.household.path('logs/hostile.log'), 'utf8');
    const last = log.trim().split('\n').at(-1) ?? '{}';
    return JSON.parse(last) as Record<string, { tried: number; taken: number }>;
  }

  /** SIGTERM. @returns null when it ended as it should */
  async stopReceiver(): Promise<string | null> {
    const exit = await this.receiver.stop(STOP_MS);
    if (exit === null) return `the receiver did not end within ${STOP_MS} ms`;
    return exit.code === 0 ? null : `the receiver ended with ${exit.signal ?? exit.code}`;
  }

  /** The most memory that the receiver has had, in bytes. Linux. */
  async peakMemory(): Promise<number> {
    const text = await readFile(`/proc/${this.receiver.pid}/status`, 'latin1');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
  }
}

const CONFIG = `receiver:
  listen: 127.0.0.1:0
  tls: {cert: ./cert.pem, key: ./cert.key}
  data: ./data/received
  limits: {maxBatch: 64MiB, maxBlob: 64MiB, idle: 5s, connections: ${PLACES}}
  apps:
    - {name: ${HOSTILE_APP}, keys: [./hostile.key], limits: {bytesPerSecond: 4MiB, storedBytes: 64MiB}}
    - {name: "*", keys: [./key]}
`;
