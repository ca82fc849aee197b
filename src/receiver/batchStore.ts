import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { chained } from '../common/chain.js';
import { crashPoint } from '../common/crashPoints.js';
import { asError, FerryError, systemCode } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';
import type { BatchRecord } from './batchRecord.js';
import { Gathered } from './gathered.js';
import { type Claim, type Decision, decideBatch, type RefusalReason } from './identity.js';
import { Incoming } from './incoming.js';
import type { Intake } from './intake/intake.js';
import type { Hold, PlacedFile } from './intake/settling.js';
import { OlderBatches } from './olderBatches.js';
import { type AcceptedBatch, Places } from './places.js';
import { RecordLog } from './recordLog.js';
import { type Held, type StreamMemory, Streams } from './streams.js';
import { SharedTask } from './writing.js';

export type Verdict =
  | { is: 'stored'; number: number }
  | { is: 'duplicate'; number: number }
  | { is: 'refused'; reason: RefusalReason; last: number };

/** A batch on its way: in a part, or small and in memory. */
export type IncomingBatch = Incoming | Gathered;

interface Waiting {
  claim: Claim | null;
  incoming: IncomingBatch;
  sha256: string;
  bytes: number;
  resolve: (verdict: Verdict) => void;
  reject: (error: Error) => void;
}

/** Accepted together, and not all in their places yet. */
interface Unplaced {
  /** Those that are not, in order. */
  batches: AcceptedBatch[];
  /** Of those that are. */
  files: PlacedFile[];
  hold: Hold;
}

/**
 * So many get their places and are answered before others have a turn: their sender goes on while
 * the next ones are placed. More: both wait for each other; fewer: more lines in the index.
 */
const PLACED_AT_ONCE = 16;

export interface BatchStoreParts {
  /** Its name, as the intake knows it. */
  app: string;
  /** The app's; `tmp` and `batches` exist. */
  folder: string;
  fs: FileSystem;
  intake: Intake;
  /** What the apps of a receiver remember of their streams. Default: one of its own. */
  memory?: StreamMemory;
}

const NUMBER_DIGITS = 10;
const PART_SUFFIX = '.part';

/** `0000000042.batch` */
export function batchFileName(number: number): string {
  return `${String(number).padStart(NUMBER_DIGITS, '0')}.batch`;
}

/**
 * The batches of one app.
 *
 *     batches/0000000001.batch ...   final names, dense from 1
 *     tmp/<random>.part              received or being received
 *     index.log                      one record per accepted batch
 *
 * A large batch: part written -> part and tmp/ synced; a small one is in memory. Then, for both: in
 * the intake, synced (accepted from here on, whatever happens) -> in its place -> record in
 * index.log. Neither of the last two is synced: the intake makes them again, until it has made them
 * durable in the background.
 *
 * Decisions, numbers, records and places are made in one line per app, so two connections with one
 * stream cannot both be next; all who wait share one sync, also with other apps.
 */
export class BatchStore {
  readonly #app: string;
  readonly #fs: FileSystem;
  readonly #intake: Intake;
  readonly #tmp: string;
  readonly #batches: string;
  readonly #syncTmp: SharedTask;
  readonly #commits: SharedTask;
  readonly #streams: Streams;
  readonly #older: OlderBatches;
  readonly #places: Places;
  #log!: RecordLog<BatchRecord>;
  #lastNumber = 0;
  #waiting: Waiting[] = [];
  #isCommitting = false;
  /** Being placed; or something failed: tried again before the next commit. */
  #unplaced: Unplaced | null = null;
  #onStored: () => void = () => undefined;

  private constructor({ app, folder, fs, intake, memory }: BatchStoreParts) {
    this.#app = app;
    this.#fs = fs;
    this.#intake = intake;
    this.#tmp = join(folder, 'tmp');
    this.#batches = join(folder, 'batches');
    this.#places = new Places(fs, this.#tmp, (number) => this.pathOf(number));
    this.#streams = new Streams(memory);
    this.#older = new OlderBatches((onRecord) => RecordLog.scan(this.#log.path, fs, onRecord));
    this.#syncTmp = new SharedTask(() => fs.syncDirectory(this.#tmp));
    this.#commits = new SharedTask(() => this.#commitWaiting());
  }

  /**
   * Opens and recovers; what the intake holds of the app must have been taken over. `tmp/` must
   * belong to this process alone and hold no part that is still being written.
   * @throws FerryError INDEX_DAMAGED
   */
  static async open(parts: BatchStoreParts): Promise<BatchStore> {
    const store = new BatchStore(parts);
    const { folder, fs } = parts;
    const left = new Set(await fs.readdir(store.#tmp));
    const unnamed: BatchRecord[] = [];
    store.#log = await RecordLog.open<BatchRecord>(join(folder, 'index.log'), fs, (record) => {
      store.#lastNumber = record.number;
      store.#streams.add(record);
      if (left.has(record.part)) unnamed.push(record);
    });
    try {
      for (const record of unnamed) {
        await fs.rename(join(store.#tmp, record.part), store.pathOf(record.number));
        left.delete(record.part);
      }
      for (const part of left) {
        if (part.endsWith(PART_SUFFIX)) await fs.unlink(join(store.#tmp, part));
      }
      return store;
    } catch (error) {
      await store.#log.close();
      throw error;
    }
  }

  /** The number of the last batch that is in its place; 0 when there is none. */
  get lastNumber(): number {
    const next = this.#unplaced?.batches[this.#places.placed];
    return next === undefined ? this.#lastNumber : next.record.number - 1;
  }

  pathOf(number: number): string {
    return join(this.#batches, batchFileName(number));
  }

  /** Called, without arguments, after batches have got their final names. */
  set onStored(listener: () => void) {
    this.#onStored = listener;
  }

  /** What would become of a batch as things are; the verdict is decided again at the commit. */
  foresee(claim: Claim): Decision | Promise<Decision> {
    const held = this.#held(claim.stream, claim.sequence, NOTHING_STAGED);
    const decide = (known: Held | null) => this.#decide(claim, known, null, NOTHING_STAGED);
    return held instanceof Promise ? held.then(decide) : decide(held);
  }

  /**
   * A place to receive into.
   * @param bytes as announced
   */
  begin(bytes: number): Gathered | Promise<Incoming> {
    if (!this.#intake.gather(bytes)) return Incoming.create(this.#fs, this.#tmp);
    return new Gathered(bytes, () => this.#intake.ungather(bytes));
  }

  /** Something to compare a duplicate with. */
  beginUnkept(): Incoming {
    return Incoming.unkept(this.#fs);
  }

  /**
   * Makes a received batch durable and accepts it, or finds it a duplicate or out of place. The part
   * is removed unless the batch was accepted.
   * @param digest what the sender says the SHA-256 is; null when it says nothing
   * @throws FerryError STORE_FAILED: nothing was accepted, or it is and is not in its place
   */
  async commit(
    incoming: IncomingBatch,
    claim: Claim | null,
    digest: string | null,
  ): Promise<Verdict> {
    try {
      const { sha256, bytes } =
        incoming instanceof Gathered
          ? incoming.finish()
          : await incoming.finish(() => this.#syncTmp.run());
      if (digest !== null && digest !== sha256) {
        const last = claim === null ? 0 : this.#streams.last(claim.stream);
        return { is: 'refused', reason: 'corrupted', last };
      }
      if (!(incoming instanceof Gathered)) crashPoint('receiver.synced');
      return await new Promise<Verdict>((resolve, reject) => {
        this.#waiting.push({ claim, incoming, sha256, bytes, resolve, reject });
        this.#commitSoon();
      });
    } catch (error) {
      throw storeFailed(error);
    } finally {
      await incoming.discard();
    }
  }

  /** Ends the commits that are under way; no further ones may be begun. The intake comes next. */
  async drain(): Promise<void> {
    await this.#commits.run().catch(() => undefined);
  }

  /** After the intake is closed. */
  async close(): Promise<void> {
    await this.#places.close();
    for (const file of this.#unplaced?.files ?? []) await file.close().catch(() => undefined);
    await this.#log.close();
  }

  /** Makes durable what stands in the index and in `batches/`. */
  async settle(): Promise<void> {
    await Promise.all([this.#log.settle(), this.#fs.syncDirectory(this.#batches)]);
  }

  /** Whoever else comes in this turn of the event loop is in the same group. */
  #commitSoon(): void {
    if (this.#isCommitting) return;
    this.#isCommitting = true;
    setImmediate(() => {
      this.#isCommitting = false;
      // Each waiting one is answered by its own resolve or reject.
      this.#commits.run().catch(() => undefined);
    });
  }

  /** One group: decide each in turn, into the intake together, then into their places. */
  async #commitWaiting(): Promise<void> {
    const group = this.#waiting;
    this.#waiting = [];
    try {
      await this.#placeAccepted();
      const staged = new Map<string, BatchRecord>();
      const accepted: { one: Waiting; record: BatchRecord }[] = [];
      const verdicts: Verdict[] = [];
      for (const one of group) {
        const judged = this.#judge(one, accepted.length, staged);
        const { verdict, record } = judged instanceof Promise ? await judged : judged;
        verdicts.push(verdict);
        if (record !== null) accepted.push({ one, record });
      }
      if (accepted.length > 0) {
        await this.#accept(accepted);
        await this.#placeAccepted((count) => {
          for (const { one, record } of accepted.splice(0, count)) {
            one.resolve({ is: 'stored', number: record.number });
          }
        });
      }
      group.forEach((one, i) => {
        one.resolve(verdicts[i] as Verdict);
      });
    } catch (error) {
      for (const one of group) one.reject(asError(error));
    }
  }

  async #accept(accepted: readonly { one: Waiting; record: BatchRecord }[]): Promise<void> {
    const batches = accepted.map(({ one: { incoming }, record }) => ({
      record,
      app: this.#app,
      json: JSON.stringify(record),
      data: incoming instanceof Gathered ? incoming.data : null,
    }));
    const hold = await this.#intake.append(batches);
    crashPoint('receiver.committed');
    for (const { one, record } of accepted) {
      if (one.incoming instanceof Incoming) one.incoming.handOver();
      this.#streams.add(record);
      if (record.stream !== null) this.#older.forget(record.stream);
    }
    this.#unplaced = { batches, files: [], hold };
    this.#lastNumber += accepted.length;
  }

  /** @param before so many of the same group are to be stored */
  #judge(one: Waiting, before: number, staged: Map<string, BatchRecord>): Judged | Promise<Judged> {
    const { claim, sha256 } = one;
    if (claim === null) return this.#toStore(one, before, staged, null);
    const held = this.#held(claim.stream, claim.sequence, staged);
    const judge = (known: Held | null): Judged | Promise<Judged> => {
      const verdict = this.#decide(claim, known, sha256, staged);
      if (verdict.is === 'refused') return { verdict, record: null };
      if (verdict.is === 'duplicate') {
        return { verdict: { is: 'duplicate', number: known?.number ?? 0 }, record: null };
      }
      // Behind what the sender has confirmed: it may have given up what we took all the same.
      const { stream, previous } = claim;
      const behind = previous === 0 ? null : this.#held(stream, previous, staged);
      const chain = (found: Held | null) => chained(found?.chain ?? '', sha256);
      return behind instanceof Promise
        ? behind.then((found) => this.#toStore(one, before, staged, chain(found)))
        : this.#toStore(one, before, staged, chain(behind));
    };
    return held instanceof Promise ? held.then(judge) : judge(held);
  }

  #toStore(
    { claim, incoming, sha256, bytes }: Waiting,
    before: number,
    staged: Map<string, BatchRecord>,
    chain: string | null,
  ): Judged {
    if (!incoming.kept) throw new Error('a batch to be stored was not kept');
    const record: BatchRecord = {
      number: this.#lastNumber + before + 1,
      stream: claim?.stream ?? null,
      sequence: claim?.sequence ?? 0,
      previous: claim?.previous ?? 0,
      sha256,
      bytes,
      part: incoming.name,
      ...(chain !== null && { chain }),
    };
    if (claim !== null) {
      staged.set(claim.stream, record);
      staged.set(`${claim.stream}.${claim.sequence}`, record);
    }
    return { verdict: { is: 'stored', number: record.number }, record };
  }

  /** @param staged records of the same group: by stream the latest, by stream and sequence each */
  #decide(
    claim: Claim,
    held: Held | null,
    sha256: string | null,
    staged: ReadonlyMap<string, BatchRecord>,
  ): Decision {
    const last = staged.get(claim.stream)?.sequence ?? this.#streams.last(claim.stream);
    return decideBatch(claim, last, held?.sha256 ?? null, sha256);
  }

  #held(
    stream: string,
    sequence: number,
    staged: ReadonlyMap<string, BatchRecord>,
  ): Held | null | Promise<Held | null> {
    const inGroup = staged.size === 0 ? undefined : staged.get(`${stream}.${sequence}`);
    if (inGroup?.chain !== undefined) return { ...inGroup, chain: inGroup.chain };
    const held = this.#streams.held(stream, sequence);
    return held === 'unknown' ? this.#older.find(stream, sequence) : held;
  }

  /**
   * What is accepted gets its place, and then its line in the index: some at a time.
   *
   * @param onPlaced called each time, with how many have both
   */
  async #placeAccepted(onPlaced: (count: number) => void = () => undefined): Promise<void> {
    if (this.#unplaced === null) return;
    const { batches, files, hold } = this.#unplaced;
    try {
      while (batches.length > 0) {
        const some = batches.slice(0, PLACED_AT_ONCE);
        const placed = await this.#places.place(some);
        await this.#log.append(some.map(({ record }) => JSON.stringify(record)));
        files.push(...placed);
        batches.splice(0, some.length);
        this.#places.done();
        crashPoint('receiver.renamed');
        this.#onStored();
        onPlaced(some.length);
        if (batches.length > 0) await nextTurn();
      }
    } catch (error) {
      hold.failed(() => this.#commitSoon());
      throw error;
    }
    this.#unplaced = null;
    hold.done(files, this);
  }
}

interface Judged {
  verdict: Verdict;
  /** Null: it is not to be stored. */
  record: BatchRecord | null;
}

const NOTHING_STAGED: ReadonlyMap<string, BatchRecord> = new Map();

/** Any failure of our own disk as one error; ours pass. */
export function storeFailed(error: unknown): FerryError {
  if (error instanceof FerryError) return error;
  const code = systemCode(error);
  return new FerryError(
    'STORE_FAILED',
    `what was received could not be stored (${code ?? 'bug'})`,
    {
      kind: 'storage',
      hint: code === 'ENOSPC' ? 'make room on the receiver’s disk' : 'check the receiver’s disk',
      cause: error,
    },
  );
}
