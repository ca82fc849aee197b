import { join } from 'node:path';
import { chained } from '../common/chain.js';
import { crashPoint } from '../common/crashPoints.js';
import { asError, FerryError, systemCode } from '../common/errors.js';
import { type FileSystem, nodeFileSystem } from '../common/fileSystem.js';
import type { BatchRecord } from './batchRecord.js';
import { type Claim, type Decision, decideBatch, type RefusalReason } from './identity.js';
import { Incoming } from './incoming.js';
import { RecordLog } from './recordLog.js';
import { type Held, Streams } from './streams.js';
import { SharedTask } from './writing.js';

export type Verdict =
  | { is: 'stored'; number: number }
  | { is: 'duplicate'; number: number }
  | { is: 'refused'; reason: RefusalReason; last: number };

interface Waiting {
  claim: Claim | null;
  incoming: Incoming;
  sha256: string;
  bytes: number;
  resolve: (verdict: Verdict) => void;
  reject: (error: Error) => void;
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
 *     index.log                      one record per accepted batch: the commit point
 *
 * A batch: part written -> part and tmp/ synced -> record in index.log synced (accepted from here
 * on, whatever happens) -> renamed. Recovery: a part with a record gets its final name, a part
 * without one is removed. The renames need no sync: one that a power cut takes back is made again. Decisions, numbers, records and renames happen in one line per app, so
 * two connections with one stream cannot both be next; all who wait share one sync.
 */
export class BatchStore {
  readonly #fs: FileSystem;
  readonly #tmp: string;
  readonly #batches: string;
  readonly #syncTmp: SharedTask;
  readonly #commits: SharedTask;
  readonly #streams = new Streams();
  #log!: RecordLog<BatchRecord>;
  #lastNumber = 0;
  #waiting: Waiting[] = [];
  /** Accepted, but the rename failed: tried again before the next commit. */
  #unnamed: BatchRecord[] = [];
  #onStored: () => void = () => undefined;

  private constructor(folder: string, fs: FileSystem) {
    this.#fs = fs;
    this.#tmp = join(folder, 'tmp');
    this.#batches = join(folder, 'batches');
    this.#syncTmp = new SharedTask(() => fs.syncDirectory(this.#tmp));
    this.#commits = new SharedTask(() => this.#commitWaiting());
  }

  /**
   * Opens and recovers. `tmp/` must belong to this process alone and hold no part that is still
   * being written.
   * @param folder the app's folder; `tmp` and `batches` exist
   * @throws FerryError INDEX_DAMAGED
   */
  static async open(folder: string, fs: FileSystem = nodeFileSystem): Promise<BatchStore> {
    const store = new BatchStore(folder, fs);
    const parts = new Set(await fs.readdir(store.#tmp));
    const unnamed: BatchRecord[] = [];
    store.#log = await RecordLog.open<BatchRecord>(join(folder, 'index.log'), fs, (record) => {
      store.#lastNumber = record.number;
      store.#streams.add(record);
      if (parts.has(record.part)) unnamed.push(record);
    });
    try {
      for (const record of unnamed) {
        await fs.rename(join(store.#tmp, record.part), store.pathOf(record.number));
        parts.delete(record.part);
      }
      for (const part of parts) {
        if (part.endsWith(PART_SUFFIX)) await fs.unlink(join(store.#tmp, part));
      }
      return store;
    } catch (error) {
      await store.#log.close();
      throw error;
    }
  }

  /** The number of the last batch that has its final name; 0 when there is none. */
  get lastNumber(): number {
    return this.#unnamed[0] === undefined ? this.#lastNumber : this.#unnamed[0].number - 1;
  }

  pathOf(number: number): string {
    return join(this.#batches, batchFileName(number));
  }

  /** Called, without arguments, after batches have got their final names. */
  set onStored(listener: () => void) {
    this.#onStored = listener;
  }

  /** What would become of a batch as things are; the verdict is decided again at the commit. */
  async foresee(claim: Claim): Promise<Decision> {
    return (await this.#decide(claim, null, new Map())).decision;
  }

  /** A part to receive into. */
  begin(): Promise<Incoming> {
    return Incoming.create(this.#fs, this.#tmp);
  }

  /** Something to compare a duplicate with. */
  beginUnkept(): Incoming {
    return Incoming.unkept(this.#fs);
  }

  /**
   * Makes a received batch durable and accepts it, or finds it a duplicate or out of place. The part
   * is removed unless the batch was accepted.
   * @param digest what the sender says the SHA-256 is; null when it says nothing
   * @throws FerryError STORE_FAILED: nothing was accepted
   */
  async commit(incoming: Incoming, claim: Claim | null, digest: string | null): Promise<Verdict> {
    try {
      const { sha256, bytes } = await incoming.finish(() => this.#syncTmp.run());
      if (digest !== null && digest !== sha256) {
        const last = claim === null ? 0 : this.#streams.last(claim.stream);
        return { is: 'refused', reason: 'corrupted', last };
      }
      crashPoint('receiver.synced');
      return await new Promise<Verdict>((resolve, reject) => {
        this.#waiting.push({ claim, incoming, sha256, bytes, resolve, reject });
        // Each waiting one is answered by its own resolve or reject.
        this.#commits.run().catch(() => undefined);
      });
    } catch (error) {
      throw storeFailed(error);
    } finally {
      await incoming.discard();
    }
  }

  async close(): Promise<void> {
    await this.#commits.run().catch(() => undefined);
    await this.#log.close();
  }

  /** One group: decide each in turn, one record line for all, then their names. */
  async #commitWaiting(): Promise<void> {
    const group = this.#waiting;
    this.#waiting = [];
    try {
      await this.#nameAccepted();
      const staged = new Map<string, BatchRecord>();
      const records: BatchRecord[] = [];
      const verdicts: Verdict[] = [];
      for (const one of group) verdicts.push(await this.#judge(one, records, staged));
      if (records.length > 0) {
        const accepted = group.filter((_, i) => verdicts[i]?.is === 'stored');
        await this.#log.write(records).catch((error: unknown) => {
          // Nobody knows whether the records are durable: a restart finds out, with the parts.
          if (this.#log.broken) for (const one of accepted) one.incoming.handOver();
          throw error;
        });
        for (const one of accepted) one.incoming.handOver();
        crashPoint('receiver.committed');
        for (const record of records) this.#streams.add(record);
        this.#unnamed = [...records];
        this.#lastNumber += records.length;
        await this.#nameAccepted();
        crashPoint('receiver.renamed');
        this.#onStored();
      }
      group.forEach((one, i) => {
        one.resolve(verdicts[i] as Verdict);
      });
    } catch (error) {
      for (const one of group) one.reject(asError(error));
    }
  }

  async #judge(
    one: Waiting,
    records: BatchRecord[],
    staged: Map<string, BatchRecord>,
  ): Promise<Verdict> {
    const { claim, incoming, sha256, bytes } = one;
    if (claim !== null) {
      const { decision, held } = await this.#decide(claim, sha256, staged);
      if (decision.is === 'refused') return decision;
      if (decision.is === 'duplicate') return { is: 'duplicate', number: held?.number ?? 0 };
    }
    if (!incoming.kept) throw new Error('a batch to be stored was not kept');
    const record: BatchRecord = {
      number: this.#lastNumber + records.length + 1,
      stream: claim?.stream ?? null,
      sequence: claim?.sequence ?? 0,
      previous: claim?.previous ?? 0,
      sha256,
      bytes,
      part: incoming.name,
      ...(claim !== null && { chain: await this.#chain(claim, sha256, staged) }),
    };
    records.push(record);
    if (claim !== null) {
      staged.set(claim.stream, record);
      staged.set(`${claim.stream}.${claim.sequence}`, record);
    }
    return { is: 'stored', number: record.number };
  }

  /** @param staged records of the same group: by stream the latest, by stream and sequence each */
  async #decide(
    claim: Claim,
    sha256: string | null,
    staged: ReadonlyMap<string, BatchRecord>,
  ): Promise<{ decision: Decision; held: Held | null }> {
    const { stream, sequence } = claim;
    const last = staged.get(stream)?.sequence ?? this.#streams.last(stream);
    const held = await this.#held(stream, sequence, staged);
    return { decision: decideBatch(claim, last, held?.sha256 ?? null, sha256), held };
  }

  /** Behind what the sender has confirmed: it may have given up what we took all the same. */
  async #chain(
    { stream, previous }: Claim,
    sha256: string,
    staged: ReadonlyMap<string, BatchRecord>,
  ): Promise<string> {
    const before = previous === 0 ? null : await this.#held(stream, previous, staged);
    return chained(before?.chain ?? '', sha256);
  }

  async #held(
    stream: string,
    sequence: number,
    staged: ReadonlyMap<string, BatchRecord>,
  ): Promise<Held | null> {
    const inGroup = staged.get(`${stream}.${sequence}`);
    if (inGroup?.chain !== undefined) return { ...inGroup, chain: inGroup.chain };
    const held = this.#streams.held(stream, sequence);
    return held === 'unknown' ? this.#heldInIndex(stream, sequence) : held;
  }

  /** Reads the whole index: seconds for a million batches, and seldom. */
  async #heldInIndex(stream: string, sequence: number): Promise<Held | null> {
    const streams = new Streams();
    let found: Held | null = null;
    await RecordLog.scan<BatchRecord>(this.#log.path, this.#fs, (record) => {
      if (record.stream !== stream || found !== null) return;
      streams.add(record);
      const held = streams.held(stream, record.sequence);
      if (record.sequence === sequence && held !== 'unknown') found = held;
    });
    return found;
  }

  async #nameAccepted(): Promise<void> {
    for (;;) {
      const record = this.#unnamed[0];
      if (record === undefined) return;
      try {
        await this.#fs.rename(join(this.#tmp, record.part), this.pathOf(record.number));
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error;
        throw new FerryError('PART_LOST', `the accepted batch ${record.number} has vanished`, {
          kind: 'storage',
          hint: 'somebody removed it from the receiver’s tmp folder: restart, and replay it',
          cause: error,
        });
      }
      this.#unnamed.shift();
    }
  }
}

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
