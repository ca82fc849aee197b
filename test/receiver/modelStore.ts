import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { type FileSystem, nodeFileSystem } from '../../src/common/fileSystem.js';
import { AppLimits } from '../../src/receiver/appLimits.js';
import { BatchStore, batchFileName } from '../../src/receiver/batchStore.js';
import { type Delivery, openDelivery } from '../../src/receiver/delivery.js';
import { Intake } from '../../src/receiver/intake/intake.js';
import { batchesIn, NO_APP_LIMITS, sha256 } from './harness.js';

/** What a receiver answered: `T`, or why not. */
export type Answer = { is: 'confirmed' } | { is: 'refused'; reason: string; last: number };

/** A batch on its way, with what its sender says of it. */
export interface Shipment {
  stream: string;
  sequence: number;
  previous: number;
  data: string;
  /** Of what the sender sent; other than the data's when those changed on the way. */
  digest: string;
}

/** One thing that happens; the sender knows what is right, `how` is what becomes of it. */
export type Step =
  | { do: 'ship'; what: Kind; back: number }
  | { do: 'together'; what: Kind[]; back: number }
  | { do: 'new stream' }
  | { do: 'sender keeps a backup' | 'sender is restored' }
  | { do: 'copy' | 'restored' | 'emptied' }
  | { do: 'restart'; after: 'a stop' | 'a crash in a receipt' | 'a crash before the rename' }
  | { do: 'torn index' };

/** What the sender sends; `back` counts from the batch confirmed last. */
export type Kind =
  | 'next'
  | 'next, changed on the way'
  | 'next, empty'
  | 'behind skipped ones'
  | 'beyond a gap'
  | 'again'
  | 'again, other bytes'
  | 'a skipped one';

const kind = fc.constantFrom<Kind[]>(
  'next',
  'next',
  'next',
  'next',
  'next, changed on the way',
  'next, empty',
  'behind skipped ones',
  'beyond a gap',
  'again',
  'again',
  'again, other bytes',
  'a skipped one',
);
/** Now and then far behind what is kept in memory. */
const back = fc.oneof({ weight: 5, arbitrary: fc.nat(6) }, fc.constant(1_028));

export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof<{ weight: number; arbitrary: fc.Arbitrary<Step> }[]>(
    { weight: 16, arbitrary: fc.record({ do: fc.constant('ship'), what: kind, back }) },
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('together'),
        // Changed bytes are told from what was foreseen at the start: two looks, not one.
        what: fc.array(
          kind.filter((what) => what !== 'next, changed on the way'),
          { minLength: 3, maxLength: 5 },
        ),
        back,
      }),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'new stream' }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constantFrom('sender keeps a backup', 'sender is restored'),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constantFrom('copy', 'copy', 'restored', 'emptied') }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('restart'),
        after: fc.constantFrom('a stop', 'a crash in a receipt', 'a crash before the rename'),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'torn index' }) },
  ),
  { maxLength: 50, size: 'max' },
);

interface HeldBatch {
  stream: string;
  sequence: number;
  data: string;
}

/** What a receiver ought to hold and to answer; no files, and every batch looked at each time. */
class ReceiverModel {
  held: HeldBatch[] = [];

  last(stream: string): number {
    return this.held.findLast((one) => one.stream === stream)?.sequence ?? 0;
  }

  take(s: Shipment): Answer {
    const last = this.last(s.stream);
    const refused = (reason: string, at = last): Answer => ({ is: 'refused', reason, last: at });
    const known = this.held.find((one) => one.stream === s.stream && one.sequence === s.sequence);
    if (s.data === '') return refused('empty', 0);
    if (s.sequence <= last && known === undefined) return refused('not-held');
    if (s.sequence > last && s.previous > last) {
      return refused(last === 0 ? 'unknown-stream' : 'gap');
    }
    if (s.digest !== sha256(s.data)) return refused('corrupted');
    if (known !== undefined) {
      return known.data === s.data ? { is: 'confirmed' } : refused('digest-mismatch');
    }
    this.held.push({ stream: s.stream, sequence: s.sequence, data: s.data });
    return { is: 'confirmed' };
  }
}

interface SenderState {
  stream: string;
  /** Last one confirmed, which is what `previous` says. */
  confirmed: number;
  skipped: number[];
  /** In which life a sequence was captured; a restore begins another, with other bytes. */
  captured: Map<number, number>;
  life: number;
}

/** A route to a receiver of ours, as its spool tells it. */
class Sender {
  state: SenderState = { stream: '', confirmed: 0, skipped: [], captured: new Map(), life: 0 };
  #streams = 0;
  #lives = 0;

  constructor() {
    this.newStream();
  }

  newStream(): void {
    this.#streams += 1;
    const stream = sha256(`stream ${this.#streams}`).slice(0, 32);
    this.state = { stream, confirmed: 0, skipped: [], captured: new Map(), life: 0 };
  }

  backup(): SenderState {
    return {
      ...this.state,
      skipped: [...this.state.skipped],
      captured: new Map(this.state.captured),
    };
  }

  /** What it captures from now on has the old numbers and other bytes. */
  restore(backup: SenderState): void {
    this.#lives += 1;
    this.state = {
      ...backup,
      skipped: [...backup.skipped],
      captured: new Map(backup.captured),
      life: this.#lives,
    };
  }

  shipment(what: Kind, back: number): Shipment {
    const { stream, confirmed, skipped } = this.state;
    const older = Math.max(1, confirmed - back);
    const at = (sequence: number, previous: number, data = this.#data(sequence)): Shipment => ({
      stream,
      sequence,
      previous,
      data,
      digest: sha256(data),
    });
    switch (what) {
      case 'next':
        return at(confirmed + 1, confirmed);
      case 'next, changed on the way':
        return { ...at(confirmed + 1, confirmed), digest: sha256('as it was') };
      case 'next, empty':
        return at(confirmed + 1, confirmed, '');
      case 'behind skipped ones':
        return at(confirmed + 2 + (back % 2), confirmed);
      case 'beyond a gap':
        return at(confirmed + 2 + back, confirmed + 1 + back);
      case 'again':
        return at(older, older - 1);
      case 'again, other bytes':
        return at(older, older - 1, 'other bytes');
      case 'a skipped one': {
        const sequence = skipped.at(-1 - (back % Math.max(1, skipped.length))) ?? older;
        return at(sequence, sequence - 1);
      }
    }
  }

  /** The receiver said `T`. */
  confirmed({ stream, sequence }: Shipment): void {
    const { state } = this;
    if (stream !== state.stream || sequence <= state.confirmed) return;
    for (let n = state.confirmed + 1; n < sequence; n += 1) state.skipped.push(n);
    state.confirmed = sequence;
  }

  #data(sequence: number): string {
    const { state } = this;
    if (!state.captured.has(sequence)) state.captured.set(sequence, state.life);
    return `${state.stream.slice(0, 4)} ${sequence} in life ${state.captured.get(sequence)}\n`;
  }
}

/** No power cut here: what is written is there, synced or not. */
const unsynced: FileSystem = {
  ...nodeFileSystem,
  async open(path, flags, mode) {
    const handle = await nodeFileSystem.open(path, flags, mode);
    handle.sync = handle.datasync = () => Promise.resolve();
    return handle;
  },
  syncDirectory: () => Promise.resolve(),
};

/** A store in a folder of its own, a sender, and the model of what must become of both. */
export class StoreRun {
  readonly #root: string;
  readonly #folder: string;
  readonly #sender = new Sender();
  readonly #model = new ReceiverModel();
  #intake!: Intake;
  #store!: BatchStore;
  #backup: SenderState | null = null;
  #copies = 0;
  #copy: { folder: string; held: HeldBatch[] } | null = null;

  private constructor(below: string) {
    this.#root = mkdtempSync(join(below, 'run-'));
    this.#folder = join(this.#root, 'app');
  }

  /** @param before batches that are there before the first step */
  static async open(below: string, before = 0): Promise<StoreRun> {
    const run = new StoreRun(below);
    run.#makeFolders();
    await run.#open();
    for (let n = 0; n < before; n += 1) await run.#ship('next', 0);
    return run;
  }

  async run(all: readonly Step[]): Promise<void> {
    for (const step of all) {
      await this.#take(step);
      this.#check();
    }
    // Whatever is accepted is there after a restart, and goes on from there.
    await this.#restart();
    this.#check();
    await this.#ship('next', 0);
    this.#check();
  }

  async close(): Promise<void> {
    await this.#stop();
    rmSync(this.#root, { recursive: true });
  }

  async #take(step: Step): Promise<void> {
    switch (step.do) {
      case 'ship':
        return this.#ship(step.what, step.back);
      case 'together':
        return this.#together(step.what, step.back);
      case 'new stream':
        return this.#sender.newStream();
      case 'sender keeps a backup':
        this.#backup = this.#sender.backup();
        return;
      case 'sender is restored':
        if (this.#backup !== null) this.#sender.restore(this.#backup);
        return;
      case 'copy': {
        this.#copies += 1;
        const folder = join(this.#root, `copy-${this.#copies}`);
        cpSync(this.#folder, folder, { recursive: true });
        this.#copy = { folder, held: [...this.#model.held] };
        return;
      }
      case 'restored':
        return this.#restore();
      case 'emptied':
        return this.#restart(() => {
          rmSync(this.#folder, { recursive: true });
          this.#makeFolders();
          this.#model.held = [];
        });
      case 'restart':
        return this.#crash(step.after);
      case 'torn index':
        return this.#restart(() => {
          writeFileSync(join(this.#folder, 'index.log'), '0badc0de [{"number":9', { flag: 'a' });
        });
    }
  }

  #makeFolders(): void {
    for (const name of ['tmp', 'batches']) mkdirSync(join(this.#folder, name), { recursive: true });
  }

  async #open(): Promise<void> {
    this.#intake = await Intake.open(this.#root, unsynced, pino({ level: 'silent' }));
    const parts = { app: 'app', folder: this.#folder, fs: unsynced, intake: this.#intake };
    this.#store = await BatchStore.open(parts);
  }

  async #stop(): Promise<void> {
    await this.#store.drain();
    await this.#intake.close(10_000);
    await this.#store.close();
  }

  async #restart(meanwhile: () => void = () => undefined): Promise<void> {
    await this.#stop();
    meanwhile();
    await this.#open();
  }

  #restore(): Promise<void> {
    const copy = this.#copy;
    return this.#restart(() => {
      if (copy === null) return;
      rmSync(this.#folder, { recursive: true });
      cpSync(copy.folder, this.#folder, { recursive: true });
      this.#model.held = [...copy.held];
    });
  }

  /** The folder as a killed receiver leaves it. */
  #crash(after: 'a stop' | 'a crash in a receipt' | 'a crash before the rename'): Promise<void> {
    return this.#restart(() => {
      const tmp = join(this.#folder, 'tmp');
      if (after === 'a crash in a receipt') writeFileSync(join(tmp, '00.part'), 'half a ba');
      const number = this.#model.held.length;
      if (after !== 'a crash before the rename' || number === 0) return;
      const index = lastRecord(join(this.#folder, 'index.log'));
      assert.equal(index.number, number);
      renameSync(join(this.#folder, 'batches', batchFileName(number)), join(tmp, index.part));
    });
  }

  async #ship(what: Kind, back: number): Promise<void> {
    const shipment = this.#sender.shipment(what, back);
    const answer = await this.#deliver(shipment);
    assert.deepEqual(answer, this.#model.take(shipment), `${what}: ${shipment.sequence}`);
    if (answer.is === 'confirmed') this.#sender.confirmed(shipment);
  }

  /** Over several connections at once: as if they had come one after the other, in some order. */
  async #together(kinds: readonly Kind[], back: number): Promise<void> {
    const shipments = kinds.map((what, i) => this.#sender.shipment(what, back + i));
    const before = [...this.#model.held];
    const answers = await Promise.all(shipments.map((one) => this.#deliver(one)));
    const found = batchesIn(this.#folder);
    const explained = permutations(shipments.map((_, i) => i)).some((order) => {
      this.#model.held = [...before];
      return (
        order.every((i) => same(this.#model.take(shipments[i] as Shipment), answers[i])) &&
        same(
          this.#model.held.map((one) => one.data),
          found,
        )
      );
    });
    assert.ok(explained, `no order explains ${JSON.stringify({ shipments, answers })}`);
    shipments.forEach((shipment, i) => {
      if (answers[i]?.is === 'confirmed') this.#sender.confirmed(shipment);
    });
  }

  async #deliver(s: Shipment): Promise<Answer> {
    const limits = new AppLimits(NO_APP_LIMITS, null);
    const app = { batches: this.#store, limits, ackWhenApplied: null };
    const opened = await openDelivery(
      {
        apps: { open: () => Promise.resolve(app) },
        limits: { maxBatchBytes: null, maxBlobBytes: null },
      } as unknown as Parameters<typeof openDelivery>[0],
      {
        app: 'foo',
        identity: {
          kind: 'batch',
          stream: s.stream,
          sequence: s.sequence,
          previous: s.previous,
        },
        sha256: s.digest,
        uploadBytes: null,
      },
      { kind: 'batch', bytes: Buffer.byteLength(s.data) },
      new AbortController(),
    );
    if ('refused' in opened) {
      const { reason, last } = opened.refused;
      return { is: 'refused', reason, last: last as number };
    }
    return this.#receive(opened.delivery, Buffer.from(s.data));
  }

  async #receive(delivery: Delivery, data: Buffer): Promise<Answer> {
    await delivery.write(data.subarray(0, 3));
    await delivery.write(data.subarray(3));
    const refusal = await delivery.commit();
    await delivery.discard();
    if (refusal === null) return { is: 'confirmed' };
    return { is: 'refused', reason: refusal.reason, last: refusal.last as number };
  }

  #check(): void {
    const { held } = this.#model;
    assert.deepEqual(
      batchesIn(this.#folder),
      held.map((one) => one.data),
    );
    assert.deepEqual(readdirSync(join(this.#folder, 'tmp')), []);
    assert.equal(this.#store.lastNumber, held.length);
    // Whatever the rules say: each stream rises, and no batch stands there twice.
    const last = new Map<string, number>();
    for (const { stream, sequence } of held) {
      assert.ok(sequence > (last.get(stream) ?? 0), `${sequence} of ${stream} out of order`);
      last.set(stream, sequence);
    }
    this.#checkGaps();
  }

  /** What is missing between two held batches of the stream was skipped, as the sender knows. */
  #checkGaps(): void {
    const { stream, skipped, life } = this.#sender.state;
    if (life > 0) return; // it has forgotten what it skipped
    const own = this.#model.held.filter((one) => one.stream === stream);
    const known = new Set([...own.map((one) => one.sequence), ...skipped]);
    const end = Math.min(this.#sender.state.confirmed, this.#model.last(stream));
    for (let n = 1; n <= end; n += 1) assert.ok(known.has(n), `${n} is missing, not skipped`);
  }
}

function lastRecord(path: string): { number: number; part: string } {
  const line = readFileSync(path, 'utf8').trimEnd().split('\n').at(-1) ?? '';
  const records = JSON.parse(line.slice(line.indexOf(' ') + 1)) as {
    number: number;
    part: string;
  }[];
  const last = records.at(-1);
  assert.ok(last !== undefined);
  return last;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function permutations(all: readonly number[]): number[][] {
  if (all.length <= 1) return [[...all]];
  return all.flatMap((first) =>
    permutations(all.filter((one) => one !== first)).map((rest) => [first, ...rest]),
  );
}
