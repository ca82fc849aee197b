import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Findings } from '../findings.js';
import type { Household } from '../household.js';
import type { ChaosOptions } from '../options.js';
import { Random } from '../random.js';
import { compareOrder, type Run, scan } from '../records.js';
import { Role } from '../role.js';
import { RecordWriter, type Source } from '../writer.js';
import {
  journalFlavour,
  type Loss,
  type Outage,
  type Peer,
  type PeerCounts,
  type Progress,
} from './peer.js';

/** The real `ferry receiver`: what lies in its directory at the end is all that counts. */
export class ReceiverPeer implements Peer {
  readonly destination: string;
  readonly journals: readonly string[];
  readonly outage: Outage;
  readonly crash: { kill(): Promise<void>; start(): Promise<void> };
  readonly #household: Household;
  readonly #options: ChaosOptions;
  readonly #findings: Findings;
  readonly #role: Role;
  #writers: RecordWriter[] = [];
  /** Batch files are never changed, so each is looked at once. */
  readonly #sizes = new Map<string, { files: number; bytes: number }>();

  private constructor(
    household: Household,
    options: ChaosOptions,
    findings: Findings,
    role: Role,
    port: number,
  ) {
    this.#household = household;
    this.#options = options;
    this.#findings = findings;
    this.#role = role;
    const dialect = options.peer === 'h2' ? 'h2' : 'acked';
    this.destination = `host: localhost, port: ${port}, url: "{journal}.r/!replica", key: ./key, tls: {ca: ./cert.pem}, dialect: ${dialect}`;
    this.journals = Array.from(
      { length: options.journals },
      (_, n) =>
        `name: j${n}, path: ./fifo/j${n}, blobs: ./blob/j${n}/, interval: 500ms${journalFlavour(n)}`,
    );
    const up = async (): Promise<void> => void (await role.start());
    this.outage = { down: () => role.stop(), up };
    this.crash = { kill: () => role.kill(), start: up };
  }

  static async start(
    household: Household,
    options: ChaosOptions,
    findings: Findings,
  ): Promise<ReceiverPeer> {
    await mkdir(household.path('fifo'));
    await mkdir(household.path('blob'));
    const configure = (port: number): Promise<void> =>
      writeFile(
        household.path('receiver.yaml'),
        `receiver:
  listen: 127.0.0.1:${port}
  tls: {cert: ./cert.pem, key: ./cert.key}
  data: ./received
  apps: [{name: "*", keys: [./key]}]
`,
      );
    await configure(0);
    const role = new Role({
      household,
      findings,
      name: 'receiver',
      args: ['receiver', '-c', 'receiver.yaml'],
      cwd: household.dir,
      started: /"port":(\d+)/,
    });
    const port = Number((await role.start())?.[1]);
    await configure(port);
    return new ReceiverPeer(household, options, findings, role, port);
  }

  write(): Source[] {
    this.#writers = this.journals.map(
      (_, n) =>
        new RecordWriter({
          journal: `j${n}`,
          path: this.#household.path('fifo', `j${n}`),
          blobDir: this.#household.path('blob', `j${n}`),
          random: new Random(`${this.#options.seed}/j${n}`),
        }),
    );
    return this.#writers;
  }

  redisLost(): Loss {
    return { at: 0 };
  }

  calm(): void {}

  async progress(): Promise<Progress> {
    const marks: string[] = [];
    let done = true;
    for (const writer of this.#writers) {
      const { bytes } = this.#received(writer.journal);
      const links = this.#links(writer.journal);
      if (bytes >= writer.bytes && links === 0) continue;
      done = false;
      marks.push(`${writer.journal}: ${bytes} of ${writer.bytes} bytes, ${links} blob links left`);
    }
    return { done, mark: marks.join(', ') };
  }

  async check(): Promise<void> {
    for (const writer of this.#writers) {
      const { journal } = writer;
      const dir = this.#batchDir(journal);
      const runs: Run[] = [];
      const names = batchNames(dir);
      for (const [n, name] of names.entries()) {
        if (Number.parseInt(name, 10) !== n + 1) {
          this.#findings.add('failures', `${journal}: batch file ${n + 1} is called ${name}`);
        }
        const found = scan(journal, await readFile(join(dir, name)));
        for (const text of found.torn) this.#findings.add('torn', `${journal}/${name} ${text}`);
        runs.push(...found.runs);
      }
      for (const [fault, numbers] of Object.entries(compareOrder(runs, writer.records))) {
        if (numbers.length === 0) continue;
        this.#findings.add(
          fault as 'lost' | 'duplicated' | 'reordered',
          `${journal}: ${numbers.length} records, the first is ${numbers[0]} of ${writer.records}`,
          numbers.length,
        );
      }
      for (const [path, content] of writer.blobs) {
        const file = this.#household.path('received', `${journal}.r`, 'blobs', path);
        const arrived = existsSync(file) ? await readFile(file) : null;
        if (arrived?.equals(content)) continue;
        const what = arrived === null ? 'is missing' : 'has another content';
        this.#findings.add('lost', `${journal}: blob ${path} (${content.length} bytes) ${what}`);
      }
    }
  }

  counts(): PeerCounts {
    const counts = { batches: 0, bytes: 0, blobs: 0, repeats: 0, rewinds: 0, stepsBack: 0 };
    for (const writer of this.#writers) {
      const { files, bytes } = this.#received(writer.journal);
      counts.batches += files;
      counts.bytes += bytes;
      counts.blobs += writer.blobs.size;
    }
    return counts;
  }

  async stop(): Promise<void> {
    await this.#role.stop();
  }

  #batchDir(journal: string): string {
    return this.#household.path('received', `${journal}.r`, 'batches');
  }

  #links(journal: string): number {
    const dir = this.#household.path('blob', journal);
    return readdirSync(dir).filter((name) => name.startsWith('=')).length;
  }

  #received(journal: string): { files: number; bytes: number } {
    const dir = this.#batchDir(journal);
    const known = this.#sizes.get(journal) ?? { files: 0, bytes: 0 };
    this.#sizes.set(journal, known);
    for (const name of batchNames(dir).slice(known.files)) {
      known.files += 1;
      known.bytes += statSync(join(dir, name)).size;
    }
    return known;
  }
}

function batchNames(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => name.endsWith('.batch'))
    .sort();
}
