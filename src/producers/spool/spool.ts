/**
 * The durable log of one journal: batches, seals, acks, verdicts. The truth that everything else
 * (Redis, workers, the dashboard) is rebuilt from. What each operation promises is in `types.ts`.
 *
 * Files are deleted by `#reclaim` alone: it takes the set of files that the state still refers
 * to, makes the state durable, and only then deletes the others. An ack that a power cut takes
 * back therefore always finds its batch.
 */
import { constants } from 'node:fs';
import { crashPoint } from '../../common/crashPoints.js';
import { FerryError, systemCode } from '../../common/errors.js';
import { type FileSystem, nodeFileSystem } from '../../common/fileSystem.js';
import { type OpenBatch, openSpoolBatch } from './batchReader.js';
import { createSpool, newStreamId } from './create.js';
import type { Fact } from './facts.js';
import { batchName, type LoadedSpool, loadSpool, segmentName } from './load.js';
import { SegmentLog } from './log.js';
import { endOf, missingSeals, type SpoolEnd } from './sealCopies.js';
import type { SealLog } from './sealLog.js';
import type { SealRequest, SpoolBatch, Verdict } from './types.js';
import { SpoolSnapshot, StateView } from './view.js';

export interface SpoolOptions {
  journal: string;
  /** Of this boot of the machine; see `capture/bootId.ts`. */
  bootId: string;
  /** Default: the real one. */
  fileSystem?: FileSystem;
  /** Small seals share their syncs with those of other spools that have the same. Default: not. */
  seals?: SealLog;
  /** Wall clock in ms. Default `Date.now`. */
  now?: () => number;
}

/** A reader beside a rolling writer may lose the race for a file so often. */
const READ_ONLY_TRIES = 10;

export class Spool extends StateView {
  readonly dir: string;
  readonly bootId: string;
  readonly fileSystem: FileSystem;
  readonly #now: () => number;
  readonly #log: SegmentLog;
  readonly #roomWaiters = new Set<() => void>();
  #onProgress: () => void = () => undefined;
  #reclaiming: Promise<void> | undefined;
  #reclaimAgain = false;
  #closed = false;

  private constructor(dir: string, loaded: LoadedSpool, options: SpoolOptions) {
    super(loaded.state);
    this.dir = dir;
    this.bootId = options.bootId;
    this.fileSystem = options.fileSystem ?? nodeFileSystem;
    this.#now = options.now ?? Date.now;
    this.#log = new SegmentLog(dir, this.fileSystem, loaded, options.seals ?? null);
  }

  /**
   * Opens the spool in `dir`, creating it (0700) with a random stream id where there is none.
   * The caller holds the producer's lock of the state directory: nobody else writes here.
   * Copies that were never sealed are deleted, except one with a trim mark.
   *
   * Throws SPOOL_DAMAGED (durable records are unreadable) and SPOOL_FOREIGN (the spool of another
   * journal).
   */
  static async open(dir: string, options: SpoolOptions): Promise<Spool> {
    const fileSystem = options.fileSystem ?? nodeFileSystem;
    const loaded =
      (await loadSpool(dir, { fileSystem, tolerant: false })) ??
      (await createSpool(dir, fileSystem, options.journal));
    if (loaded.state.journal !== options.journal) {
      throw new FerryError(
        'SPOOL_FOREIGN',
        `${dir} is the spool of journal ${loaded.state.journal}, not of ${options.journal}`,
        {
          kind: 'storage',
          retry: false,
          hint: 'give each journal a state directory of its own name',
        },
      );
    }
    for (const name of loaded.strays) await fileSystem.unlink(`${dir}/${name}`);
    if (loaded.strays.some((name) => name.endsWith('.log'))) await fileSystem.syncDirectory(dir);
    if (loaded.tornBytes > 0) {
      await cutTail(`${dir}/${segmentName(loaded.segment)}`, fileSystem, loaded.end);
    }
    const spool = new Spool(dir, loaded, options);
    try {
      // A fact that was written but not synced when its producer was killed is acted on from now
      // on (a seal is published, a blob is sent under its version), so it has to become what it
      // looks like.
      if (loaded.mustSync) await spool.sync();
      await spool.#takeMissingSeals(endOf(loaded));
      spool.#reclaimLater();
    } catch (error) {
      await spool.close();
      throw error;
    }
    return spool;
  }

  /**
   * The spool as it stands, without taking, changing or locking anything; a producer may be at
   * work on it. Undefined: there is none in `dir`.
   */
  static async readOnly(
    dir: string,
    fileSystem: FileSystem = nodeFileSystem,
  ): Promise<SpoolSnapshot | undefined> {
    for (let tries = 1; ; tries += 1) {
      try {
        const loaded = await loadSpool(dir, { fileSystem, tolerant: true });
        if (loaded === undefined) return undefined;
        let bytes = 0;
        for (const size of loaded.files.values()) bytes += size;
        return new SpoolSnapshot(loaded.state, bytes);
      } catch (error) {
        if (systemCode(error) !== 'ENOENT' || tries === READ_ONLY_TRIES) throw error;
      }
    }
  }

  get bytesOnDisk(): number {
    return this.#log.bytesOnDisk;
  }

  /** The sequence that the next seal will have. */
  get nextSequence(): number {
    return this.lastSequence + 1;
  }

  /** The part file of a large batch: written by the capture, named by the seal. */
  partPath(sequence: number): string {
    return `${this.dir}/${batchName(sequence)}`;
  }

  /** Accounts for the part file; 0: it is gone. */
  notePartBytes(sequence: number, bytes: number): void {
    if (bytes === 0) this.#log.files.delete(batchName(sequence));
    else this.#log.files.set(batchName(sequence), bytes);
  }

  /**
   * Seals a batch. Durable; with `payload` null the part file must be durable before. The batch
   * is not visible through `batch` and `lastSequence` until `publish`.
   */
  async seal(request: SealRequest): Promise<SpoolBatch> {
    if (request.payload !== null && request.payload.length !== request.bytes) {
      throw new FerryError('SPOOL_MISUSE', 'payload and length of a seal differ', {
        kind: 'internal',
      });
    }
    const before = this.unpublished;
    this.unpublished ??= request.sequence;
    try {
      await this.#append(
        {
          t: 'seal',
          seq: request.sequence,
          bytes: request.bytes,
          sha: request.sha256,
          at: this.#now(),
          ino: request.inode,
          boot: this.bootId,
          ...(request.journalOffset ? { off: request.journalOffset } : {}),
          ...(request.follows ? { follows: request.follows } : {}),
          ...(request.trimmedBytes ? { trim: request.trimmedBytes } : {}),
          ...(request.payload === null ? { file: batchName(request.sequence) } : {}),
        },
        true,
        request.payload,
      );
    } catch (error) {
      this.unpublished = before;
      throw error;
    }
    const batch = this.state.batches.get(request.sequence);
    if (batch === undefined) {
      throw new FerryError('SPOOL_MISUSE', 'a sealed batch is not in the table', {
        kind: 'internal',
      });
    }
    return batch;
  }

  /** Makes the sealed batch visible: from now on it is never superseded. In memory only. */
  publish(): void {
    this.unpublished = undefined;
  }

  /** A seal of this sequence is in the table, published or not: its file must not be touched. */
  isSealed(sequence: number): boolean {
    return this.state.batches.has(sequence);
  }

  /** After `ftruncate`, before the unlock. Not synced. Believed in this boot only. */
  recordTruncated(sequence: number): Promise<void> {
    return this.#append({ t: 'truncated', seq: sequence, boot: this.bootId }, false);
  }

  /** After the journal's fsync: everything through `sequence` is gone from it. Not synced. */
  async recordSettled(sequence: number): Promise<void> {
    if (sequence <= this.state.settled) return;
    await this.#append({ t: 'settled', seq: sequence }, false);
    this.#reclaimLater();
  }

  /** Before a punch: [0, bytes) of the journal exists, durable, in the part file. Durable. */
  recordTrim(sequence: number, bytes: number, inode: number): Promise<void> {
    return this.#append({ t: 'trim', seq: sequence, bytes, ino: inode }, true);
  }

  /**
   * Adds a route that begins behind `after` (durable; nothing happens when it exists). `after`
   * below `lastSequence` needs every batch from there to be held still, else ROUTE_START_GONE.
   */
  async addRoute(destination: string, { after }: { after: number }): Promise<void> {
    if (this.state.routes.has(destination)) return;
    for (let seq = after + 1; seq <= this.lastSequence; seq += 1) {
      if (this.state.batches.has(seq)) continue;
      throw new FerryError('ROUTE_START_GONE', `batch ${seq} is no longer in the spool`, {
        kind: 'storage',
        retry: false,
        hint: 'seed the new replica from a copy and start the route at the next batch',
      });
    }
    await this.#append({ t: 'route', d: destination, after }, true);
    this.#reclaimLater();
  }

  /** The route goes on under another name. Durable. Nothing happens when `now` exists. */
  renameRoute(was: string, now: string): Promise<void> {
    return this.#append({ t: 'rename', d: was, to: now }, true);
  }

  /** Forgets the route; what only it needed is freed. Durable. */
  async dropRoute(destination: string): Promise<void> {
    await this.#append({ t: 'drop', d: destination }, true);
    this.#reclaimLater();
  }

  /** Notes that a route left the configuration, or came back. Not synced. */
  async recordOrphaned(destination: string, orphaned: boolean): Promise<void> {
    if (this.state.routes.get(destination)?.orphaned === orphaned) return;
    await this.#append({ t: 'orphaned', d: destination, on: orphaned }, false);
  }

  /** Redis has accepted everything through `sequence`. Not synced. */
  async recordAccepted(destination: string, sequence: number): Promise<void> {
    if (sequence <= (this.state.routes.get(destination)?.accepted ?? 0)) return;
    await this.#append({ t: 'accepted', d: destination, seq: sequence }, false);
  }

  /**
   * The route has confirmed everything through `sequence`; in a replay, once more. Monotone. Not
   * synced.
   *
   * @param replayedBytes payload of a replay among it, since the last time
   */
  async recordAck(destination: string, sequence: number, replayedBytes = 0): Promise<void> {
    const route = this.state.routes.get(destination);
    if (sequence <= (route?.replay?.acked ?? route?.acked ?? 0)) return;
    const bytes = replayedBytes > 0 ? { b: replayedBytes } : {};
    await this.#append({ t: 'ack', d: destination, seq: sequence, ...bytes }, false);
    this.#reclaimLater();
  }

  /** The route's generation in Redis; a new one sets `accepted` back to `acked`. Durable. */
  recordGeneration(destination: string, generation: number): Promise<void> {
    return this.#append({ t: 'generation', d: destination, n: generation }, true);
  }

  /** An operator's word; see `Verdict`. Durable. */
  async recordVerdict(destination: string, verdict: Verdict): Promise<void> {
    const atMs = verdict.atMs ?? this.#now();
    await this.#append({ t: 'verdict', d: destination, verdict: { ...verdict, atMs } }, true);
    this.#reclaimLater();
  }

  /** The oldest unfinished verdict of the route is in Redis and in the audit log. Not synced. */
  recordFinished(destination: string): Promise<void> {
    return this.#append({ t: 'finished', d: destination }, false);
  }

  /** The batch of that skip was confirmed before Redis heard of it: it counts as such. Not synced. */
  recordConfirmedAfterAll(destination: string): Promise<void> {
    return this.#append({ t: 'confirmedAfterAll', d: destination }, false);
  }

  /** Whoever keeps what is confirmed is told when there may be more of it; from memory, at once. */
  onProgress(listener: () => void): void {
    this.#onProgress = listener;
  }

  /** Whether what is confirmed is held until `recordArchived`. Not synced. */
  async recordArchiving(on: boolean): Promise<void> {
    if ((this.state.archived !== null) === on) return;
    await this.#append({ t: 'archiving', on }, false);
    this.#reclaimLater();
  }

  /** Everything through `sequence` is in the archive, or will never be. Not synced. */
  async recordArchived(sequence: number): Promise<void> {
    await this.#append({ t: 'archived', seq: sequence }, false);
    this.#reclaimLater();
  }

  /** A new random stream id: sequences go on, `previous` of each route becomes 0. Durable. */
  newStream(): Promise<void> {
    return this.#append({ t: 'stream', id: newStreamId() }, true);
  }

  /** A version higher than any given before, for `recordBlobSeen`. */
  nextBlobVersion(): number {
    return this.state.blobVersion + 1;
  }

  /**
   * A blob link was seen; takes the place of what was pending under that link name. Durable: a
   * version that a power cut took back would be given twice, and a receiver ignores old versions.
   */
  recordBlobSeen(
    link: string,
    blob: { text: string; version: number; afterSequence: number },
  ): Promise<void> {
    const { text, version, afterSequence: after } = blob;
    return this.#append({ t: 'blob', link, text, version, after }, true);
  }

  /** One destination has it. Not synced. Nothing happens for a version that is not pending. */
  recordBlobConfirmed(link: string, version: number, destination: string): Promise<void> {
    return this.#append({ t: 'blobConfirmed', link, version, d: destination }, false);
  }

  /** Every destination has it: forgotten, except that its version is never used again. Not synced. */
  recordBlobDone(link: string, version: number): Promise<void> {
    return this.#append({ t: 'blobDone', link, version }, false);
  }

  /** Opens the payload of a held batch. Throws BATCH_GONE for one that is not held. */
  async openBatch(sequence: number): Promise<OpenBatch> {
    const batch = this.batch(sequence);
    if (batch === undefined) {
      throw new FerryError('BATCH_GONE', `batch ${sequence} is not in the spool`, {
        kind: 'storage',
        context: { journal: this.journal, sequence },
      });
    }
    return openSpoolBatch(this.dir, batch.location, batch.bytes);
  }

  /** True when a batch of `bytes` fits below `limitBytes`; one that is alone always fits. */
  hasRoom(bytes: number, limitBytes: number): boolean {
    const waiting = this.waitingBytes;
    return waiting === 0 || waiting + bytes <= limitBytes;
  }

  /** Resolves when `hasRoom` would say yes; rejects when `signal` aborts or the spool closes. */
  async waitForRoom(bytes: number, limitBytes: number, signal?: AbortSignal): Promise<void> {
    while (!this.hasRoom(bytes, limitBytes)) {
      signal?.throwIfAborted();
      if (this.#closed) throw closedError(this.dir);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#roomWaiters.delete(wake);
          signal?.removeEventListener('abort', wake);
          resolve();
        };
        this.#roomWaiters.add(wake);
        signal?.addEventListener('abort', wake);
      });
    }
  }

  /** Everything that memory holds is durable when this resolves, a failed append undone. */
  sync(): Promise<void> {
    return this.#log.sync();
  }

  /** After a failed append: memory and disk say the same again. Costs nothing otherwise. */
  repair(): Promise<void> {
    return this.#log.repair();
  }

  /** Resolves when the files that nobody needs at this moment are deleted. */
  async reclaimed(): Promise<void> {
    while (this.#reclaiming !== undefined) await this.#reclaiming;
  }

  /** Ends background work and closes files. Does not sync what need not be. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of [...this.#roomWaiters]) wake();
    await this.reclaimed();
    await this.#log.close();
  }

  async #append(fact: Fact, durable: boolean, payload: Buffer | null = null): Promise<void> {
    await this.#log.append([{ fact, payload }], { durable });
  }

  /** A power cut took the end of the log, while the seals in it were durable elsewhere. */
  async #takeMissingSeals(end: SpoolEnd): Promise<void> {
    const missing = await missingSeals(this.dir, { ...end, bootId: this.bootId }, this.fileSystem);
    if (missing.length === 0) return;
    for (const entry of missing) await this.#log.append([entry], { durable: false });
    await this.sync();
    crashPoint('seals.taken');
  }

  #reclaimLater(): void {
    this.#onProgress();
    for (const wake of [...this.#roomWaiters]) wake();
    this.#reclaimAgain = true;
    if (this.#closed || this.#reclaiming !== undefined) return;
    this.#reclaiming = this.#reclaim().finally(() => {
      this.#reclaiming = undefined;
    });
  }

  async #reclaim(): Promise<void> {
    while (this.#reclaimAgain && !this.#closed) {
      this.#reclaimAgain = false;
      const garbage = this.#garbage();
      if (garbage.length === 0) continue;
      try {
        await this.sync();
        crashPoint('spool.freeing');
        for (const name of garbage) {
          await this.fileSystem.unlink(`${this.dir}/${name}`).catch((error: unknown) => {
            if (systemCode(error) !== 'ENOENT') throw error;
          });
          this.#log.files.delete(name);
          crashPoint('spool.freed');
        }
      } catch {
        // Housekeeping: it is tried again after the next ack, and a sick disk stops the captures.
        return;
      }
    }
  }

  /** Files that the state as it is now refers to no more. */
  #garbage(): string[] {
    const needed = new Set([this.#log.currentFile]);
    const { trim, last, batches } = this.state;
    if (trim !== null) needed.add(batchName(trim.sequence));
    for (const batch of batches.values()) needed.add(batch.location.file);
    // A copy in the making carries the name of a batch to come.
    const newest = batchName(last);
    return [...this.#log.files.keys()].filter(
      (name) => !needed.has(name) && !(name.endsWith('.batch') && name > newest),
    );
  }
}

function closedError(dir: string): FerryError {
  return new FerryError('SPOOL_CLOSED', `spool ${dir} is closed`, { kind: 'internal' });
}

/** For good, before anything stands in its place: its end must not come back behind that. */
async function cutTail(path: string, fileSystem: FileSystem, end: number): Promise<void> {
  const handle = await fileSystem.open(path, constants.O_RDWR);
  try {
    await handle.truncate(end);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
