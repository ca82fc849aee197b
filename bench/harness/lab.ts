import { randomFillSync } from 'node:crypto';
import { constants, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Child, Household } from '../../chaos/household.js';
import { makeCertificate } from '../../demo/certificate.js';
import { Sink } from './sink.js';

const FERRY = fileURLToPath(new URL('../../src/cli/ferry.cjs', import.meta.url));
const BIN_SSL = '/usr/lib/picolisp/bin/ssl';
const STOP_MS = 15_000;
const DEADLINE_MS = 300_000;
const LOOK_MS = 20;
/** A key or certificate that was written a moment ago is read again for every connection. */
const FILES_SETTLE_MS = 3_500;
const BLOCK_BYTES = 8 * 1024 * 1024;
/** What a measurement may need at most, and the floor that captures and archive leave free. */
const ROOM_BYTES = 8 * 1024 ** 3;

/** The key of all contenders; whoever has it may send to a sink. */
const KEY_TEXT = 'the key of the bench\n';

/** What a sender is told, as in `ferry.yaml`. */
export interface FerryOptions {
  /** Host, port, url, key and CA are filled in. */
  ports: Readonly<Record<string, number>>;
  /** Further fields of every destination, YAML flow. */
  destination?: string;
  /** Entries of `journals:`, YAML flow mappings without braces. */
  journals: readonly string[];
  redis?: string;
  payloads?: 'spool' | 'redis';
  /** Further lines at the top level. */
  more?: string;
}

/**
 * Where a comparison runs: a directory, and processes that all end with it.
 *
 * What a measurement has written stays until the whole run is over, while the disk has room: an
 * ext4 without a journal walks over every inode that was freed in the last minutes when it makes
 * a file, so that a later round would pay up to 0.3 ms per file for what an earlier one removed.
 */
export class Lab {
  readonly household: Household;
  readonly #kept: string[] = [];
  #rounds = 0;

  private constructor(
    household: Household,
    readonly say: (line: string) => void,
  ) {
    this.household = household;
  }

  static async open(say: (line: string) => void): Promise<Lab> {
    const household = new Household();
    await mkdir(household.path('logs'));
    const { cert, key } = await makeCertificate();
    writeFileSync(household.path('cert.pem'), cert);
    writeFileSync(household.path('cert.key'), key, { mode: 0o600 });
    writeFileSync(household.path('key'), KEY_TEXT, { mode: 0o600 });
    await sleep(FILES_SETTLE_MS);
    return new Lab(household, say);
  }

  /** Ends what still runs and removes all files, unless the household is to be kept. */
  close(): Promise<void> {
    return this.household.close();
  }

  path(...parts: string[]): string {
    return this.household.path(...parts);
  }

  /** A directory of its own for one measurement; its processes end with that. */
  async measure<Result>(work: (bench: Bench) => Promise<Result>): Promise<Result> {
    this.#makeRoom();
    this.#rounds += 1;
    const bench = new Bench(this, `r${this.#rounds}`);
    try {
      return await work(bench);
    } finally {
      await bench.endAll();
      this.#kept.push(bench.dir);
    }
  }

  /** Removes what earlier measurements left, when the disk has no room for it any more. */
  #makeRoom(): void {
    const { bavail, bsize } = statfsSync(this.household.dir);
    if (bavail * bsize >= ROOM_BYTES || this.#kept.length === 0) return;
    this.say('the disk is nearly full: the files of the measurements before are removed now');
    for (const dir of this.#kept.splice(0)) {
      rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    }
  }
}

/** One measurement: its directory, its sink, its senders. */
export class Bench {
  readonly dir: string;
  readonly #lab: Lab;
  readonly #name: string;
  readonly #children: Child[] = [];
  readonly #sinks: Sink[] = [];
  readonly #atEnd: (() => void)[] = [];
  #started = 0;

  constructor(lab: Lab, name: string) {
    this.#lab = lab;
    this.#name = name;
    this.dir = lab.path(name);
    mkdirSync(join(this.dir, 'fifo'), { recursive: true });
    mkdirSync(join(this.dir, 'blob'));
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  get stateDir(): string {
    return this.path('state');
  }

  /** @param port default: any that is free */
  async sink(port = 0): Promise<Sink> {
    const name = `${this.#name}-sink${this.#sinks.length}`;
    const sink = await Sink.start(this.#lab.household, name, port);
    this.#sinks.push(sink);
    return sink;
  }

  /** Writes `ferry.yaml`. */
  configure(options: FerryOptions): void {
    const { ports, journals, redis = 'embedded', payloads = 'spool', more = '' } = options;
    const extra = options.destination === undefined ? '' : `, ${options.destination}`;
    const destinations = Object.entries(ports).map(
      ([name, port]) =>
        `  ${name}: {host: localhost, port: ${port}, url: "{journal}.r/!replica", key: ../key, tls: {ca: ../cert.pem}${extra}}`,
    );
    writeFileSync(
      this.path('ferry.yaml'),
      [
        `redis: ${redis}`,
        'state: ./state',
        `payloads: ${payloads}`,
        'destinations:',
        ...destinations,
        'journals:',
        ...journals.map((journal) => `  - {${journal}}`),
        more,
        '',
      ].join('\n'),
    );
  }

  /** Starts a role and waits until it says that it has. */
  async ferry(role: 'run' | 'producer' | 'worker', more: readonly string[] = []): Promise<Child> {
    const args = [FERRY, role, '--log-format', 'json', ...more];
    const child = this.start(role, process.execPath, args);
    await child.line(role === 'worker' ? /worker started/ : /producer started/);
    return child;
  }

  /** A receiver of ours, any app. @param data its folder @param port default: any that is free */
  async receiver(more = '', data = 'received', port = 0): Promise<{ child: Child; port: number }> {
    writeFileSync(
      this.path(`${data}.yaml`),
      `receiver:
  listen: 127.0.0.1:${port}
  tls: {cert: ../cert.pem, key: ../cert.key}
  data: ./${data}
  apps: [{name: "*", keys: [../key]}]
  ${more}
`,
    );
    const args = [FERRY, 'receiver', '-c', `${data}.yaml`, '--log-format', 'json'];
    const child = this.start('receiver', process.execPath, args);
    return { child, port: Number((await child.line(/"port":(\d+)/))[1]) };
  }

  /** The real `bin/ssl`, in the foreground, looking each second. */
  binSsl(port: number, journal: string, blobDir: string): Child {
    const words = ['localhost', `-${port}`, 'foo.r/!replica', '../key', journal, blobDir, '1'];
    return this.start('bin-ssl', BIN_SSL, [...words, '', '+']);
  }

  /** One of `bench/programs`. */
  program(name: string, args: readonly string[]): Child {
    const file = fileURLToPath(new URL(`../programs/${name}.js`, import.meta.url));
    return this.start(name, process.execPath, [file, ...args]);
  }

  start(name: string, command: string, args: readonly string[], argv0?: string): Child {
    const { household } = this.#lab;
    this.#started += 1;
    const child = household.start(`${this.#name}-${this.#started}-${name}`, command, args, {
      cwd: this.dir,
      ...(argv0 === undefined ? {} : { argv0 }),
    });
    this.#children.push(child);
    return child;
  }

  /** Ends one cleanly, also one that stands still. */
  async end(child: Child): Promise<void> {
    child.signal('SIGCONT');
    await child.stop(STOP_MS);
  }

  /** Looks again and again until it holds; fails at the deadline. */
  async until(
    what: string,
    holds: () => Promise<boolean>,
    deadlineMs = DEADLINE_MS,
  ): Promise<void> {
    const deadline = performance.now() + deadlineMs;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
      await sleep(LOOK_MS);
    }
  }

  /** The sum of a metric over all its labels, of a role whose `metrics` listen there. */
  async metric(port: number, name: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
      sum += Number(line.slice(line.lastIndexOf(' ') + 1));
    }
    return sum;
  }

  /** Commits into `fifo/j1` and so on, see `bench/programs/commits.ts`; seconds that it took. */
  async commits(journals: number, commits: number, bytes: number, rate = 0): Promise<number> {
    const words = [this.path('fifo'), journals, commits, bytes, rate].map(String);
    const child = this.program('commits', words);
    return Number((await child.line(/"seconds":([\d.]+)/))[1]);
  }

  /** Is done before the processes end: a connection to one of them is given up, for example. */
  atEnd(work: () => void): void {
    this.#atEnd.push(work);
  }

  /** Ends all that was started, the last one first. Its files stay. */
  async endAll(): Promise<void> {
    for (const work of this.#atEnd) work();
    for (const child of this.#children.reverse()) await this.end(child);
    for (const sink of this.#sinks) await sink.stop();
  }
}

/** Writes random bytes into a file and waits until they are on the disk. */
export async function fill(path: string, bytes: number): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
  const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, Math.max(bytes, 1)));
  for (let at = 0; at < bytes; at += block.length) {
    await file.write(randomFillSync(block), 0, Math.min(block.length, bytes - at));
  }
  await file.sync();
  await file.close();
}

/** Milliseconds since an instant of `process.hrtime.bigint()`. */
export function msBetween(fromNs: bigint, toNs: bigint): number {
  return Number(toNs - fromNs) / 1e6;
}
