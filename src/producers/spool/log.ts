/**
 * The append-only log of one spool: one write path, one open file, many waiting callers.
 *
 * States of the current segment:
 *
 *   healthy --write fails, cut back to the last good end--> healthy (the callers get the error)
 *   healthy --fdatasync fails, or the cut fails--> suspect
 *   suspect --next append: a new segment with the whole state, made durable--> healthy
 *   suspect --that fails too--> suspect (the callers get the error)
 *
 * A suspect tail is never synced again: after a failed fdatasync the kernel may have dropped the
 * pages and call the next one a success. The new segment's checkpoint takes the tail's place.
 * A new segment that could not be finished is removed, durably; until that has worked nothing
 * may be appended to the old one, for a reader would believe the newer checkpoint.
 */

import { basename, dirname } from 'node:path';
import { crashPoint } from '../../common/crashPoints.js';
import { asError, FerryError, systemCode } from '../../common/errors.js';
import type { FileSystem } from '../../common/fileSystem.js';
import type { OpenFile } from '../../common/openFile.js';
import { Semaphore } from '../../common/semaphore.js';
import type { Fact } from './facts.js';
import { forgetHandle, type HandleOwner, touchHandle, writeAll } from './handles.js';
import { type LoadedSpool, segmentName } from './load.js';
import { encodeRecord } from './record.js';
import type { SealRecord } from './sealCopies.js';
import type { SealLog, SpoolLog } from './sealLog.js';
import type { SpoolState } from './state.js';

/** Larger: longer reads at open and more dead payload. Smaller: more checkpoints. */
export const SEGMENT_BYTES = 8 * 1024 * 1024;
/** A checkpoint may take this share of its segment, so that rolling stays cheap. */
const CHECKPOINT_SHARE = 4;
/** Dead payload that is worth a new segment, so that the old one can be deleted. */
export const DEAD_PAYLOAD_BYTES = 1024 * 1024;
/** The state directory and its parent: `mkdir -p` may have made both just now. */
const STATE_LEVELS = 2;
/** Directories above the spools that this process has synced; they stay. */
const syncedAncestors = new Set<string>();
/** Logs at work at once: each has files open, and the thread pool has few threads anyway. */
const writers = new Semaphore(64);
/** After a roll that failed, so much more may be appended before the next try. */
const ROLL_RETRY_BYTES = 1024 * 1024;

export interface Entry {
  fact: Fact;
  payload: Buffer | null;
}

interface Waiter {
  entries: readonly Entry[];
  durable: boolean;
  resolve: () => void;
  reject: (error: Error) => void;
}

export class SegmentLog implements HandleOwner, SpoolLog {
  readonly dir: string;
  readonly #fileSystem: FileSystem;
  readonly #state: SpoolState;
  readonly #seals: SealLog | null;
  /** Sizes of the files that count: the log's segments, batch files, the copy in the making. */
  readonly files: Map<string, number>;
  #segment: number;
  #end: number;
  #durableEnd: number;
  #directoryDurable: boolean;
  #suspect = false;
  #rollAt: number;
  #inlineBytes: number;
  #handle: OpenFile | undefined;
  #queue: Waiter[] = [];
  #pumping: Promise<void> | undefined;
  #closed = false;

  /** @param seals shared with other spools of the process; null: this one syncs for itself */
  constructor(dir: string, fileSystem: FileSystem, loaded: LoadedSpool, seals: SealLog | null) {
    this.#seals = seals;
    this.dir = dir;
    this.#fileSystem = fileSystem;
    this.#state = loaded.state;
    this.files = loaded.files;
    this.#segment = loaded.segment;
    this.#end = loaded.end;
    this.#durableEnd = loaded.durableEnd;
    this.#directoryDurable = loaded.durableEnd > 0;
    this.#inlineBytes = loaded.inlineBytes;
    this.#rollAt = SEGMENT_BYTES;
  }

  get currentFile(): string {
    return segmentName(this.#segment);
  }

  /** False: a power cut could take back something that the state holds. */
  get isDurable(): boolean {
    return !this.#suspect && this.#directoryDurable && this.#durableEnd === this.#end;
  }

  /** Bytes of every file that counts. */
  get bytesOnDisk(): number {
    let bytes = 0;
    for (const size of this.files.values()) bytes += size;
    return bytes;
  }

  /**
   * Writes the entries as one group, in order, and applies them to the state. Calls made while
   * another is at work share one write and one fdatasync.
   */
  append(entries: readonly Entry[], { durable }: { durable: boolean }): Promise<void> {
    if (this.#closed) {
      const error = new FerryError('SPOOL_CLOSED', `spool ${this.dir} is closed`, {
        kind: 'internal',
      });
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ entries, durable, resolve, reject });
      this.#pumping ??= this.#pump();
    });
  }

  /** Everything applied so far is durable when this resolves. */
  async sync(): Promise<void> {
    if (this.isDurable && this.#pumping === undefined) return;
    await this.append([], { durable: true });
  }

  /** Leaves a suspect tail behind; nothing happens when there is none. */
  async repair(): Promise<void> {
    if (this.#suspect) await this.append([], { durable: true });
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pumping;
    await this.#closeHandle();
  }

  async releaseIfIdle(): Promise<boolean> {
    if (this.#pumping !== undefined) return false;
    // A log is closed without a fault of its own: a late write error shows at the next fdatasync.
    await this.#closeHandle().catch(() => undefined);
    return true;
  }

  async #pump(): Promise<void> {
    // Lets every append of this turn of the event loop join the group.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group = this.#queue;
      this.#queue = [];
      try {
        await writers.run(() => this.#write(group));
        for (const waiter of group) waiter.resolve();
      } catch (error) {
        const failure = writeFailed(this.dir, error);
        for (const waiter of group) waiter.reject(failure);
      }
    }
    this.#pumping = undefined;
    if (this.#handle !== undefined) await touchHandle(this);
  }

  async #write(group: readonly Waiter[]): Promise<void> {
    if (this.#suspect) await this.#roll();
    const entries = group.flatMap((waiter) => waiter.entries);
    const parts: Buffer[] = [];
    const payloadOffsets: number[] = [];
    const seals: SealRecord[] = [];
    let end = this.#end;
    for (const { fact, payload } of entries) {
      const head = encodeRecord(fact, payload, this.#durableEnd);
      parts.push(head);
      if (payload !== null) parts.push(payload);
      payloadOffsets.push(end + head.length);
      if (fact.t === 'seal' && payload !== null) {
        seals.push(this.#sealRecord(fact.seq, end, [head, payload]));
      }
      end += head.length + (payload?.length ?? 0);
    }
    if (entries.length > 0) await this.#writeParts(parts, end);
    if (group.some((waiter) => waiter.durable)) await this.#settle(group, seals, end);
    for (const [index, { fact, payload }] of entries.entries()) {
      try {
        this.#state.apply(fact, {
          file: this.currentFile,
          payloadOffset: payloadOffsets[index] ?? 0,
        });
      } catch (error) {
        // The log now says what the state refuses: the next checkpoint takes it back.
        this.#suspect = true;
        throw error;
      }
      this.#inlineBytes += payload?.length ?? 0;
    }
    await this.#rollIfWorthwhile();
  }

  async #writeParts(parts: Buffer[], end: number): Promise<void> {
    const handle = await this.#open();
    const whole = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
    try {
      await writeAll(handle, whole, this.#end);
    } catch (error) {
      try {
        await handle.truncate(this.#end);
      } catch {
        this.#suspect = true;
      }
      throw error;
    }
    this.#end = end;
    this.files.set(this.currentFile, end);
  }

  /** Small seals may share a sync with those of other spools; all else is synced here. */
  async #settle(group: readonly Waiter[], seals: readonly SealRecord[], end: number) {
    const own = () => this.#makeDurable(end);
    if (this.#seals === null || !this.#directoryDurable || !isSealsOnly(group)) return own();
    try {
      await this.#seals.makeDurable(this, seals, own);
    } catch (error) {
      // They stand in this log and are not promised.
      this.#suspect = true;
      throw error;
    }
  }

  #sealRecord(sequence: number, offset: number, record: readonly [Buffer, Buffer]): SealRecord {
    const { stream } = this.#state;
    const spool = basename(this.dir);
    return { spool, stream, sequence, segment: this.#segment, offset, record };
  }

  async #makeDurable(end: number): Promise<void> {
    if (this.#durableEnd === end && this.#directoryDurable) return;
    try {
      const handle = await this.#open();
      await handle.datasync();
      if (!this.#directoryDurable) {
        await this.#syncNames();
        this.#directoryDurable = true;
      }
    } catch (error) {
      this.#suspect = true;
      throw error;
    }
    this.#durableEnd = end;
  }

  /** A new spool's path: a log whose directory a power cut forgets is no log. */
  async #syncNames(): Promise<void> {
    await this.#fileSystem.syncDirectory(this.dir);
    let above = dirname(this.dir);
    await this.#fileSystem.syncDirectory(above);
    for (let level = 0; level < STATE_LEVELS; level += 1) {
      above = dirname(above);
      // Each for itself: the one above may have failed, or is still under way for another spool.
      if (syncedAncestors.has(above)) continue;
      // It may belong to somebody else, who made it durable then.
      await this.#fileSystem.syncDirectory(above).catch((error: unknown) => {
        if (systemCode(error) !== 'EACCES' && systemCode(error) !== 'EPERM') throw error;
      });
      syncedAncestors.add(above);
    }
  }

  async #rollIfWorthwhile(): Promise<void> {
    const long = this.#end > this.#rollAt;
    if (!long && this.#inlineBytes <= DEAD_PAYLOAD_BYTES) return;
    if (!long) {
      const current = this.currentFile;
      let alive = 0;
      for (const batch of this.#state.batches.values()) {
        if (batch.location.file === current) alive += batch.bytes;
        if (this.#inlineBytes - alive <= DEAD_PAYLOAD_BYTES) return;
      }
    }
    try {
      await this.#roll();
    } catch {
      // Housekeeping: what was appended is safe where it is. A real fault shows at the next append.
      this.#rollAt = this.#end + ROLL_RETRY_BYTES;
    }
  }

  /** A new segment with the state as it is in memory, durable when this returns. */
  async #roll(): Promise<void> {
    const next = this.#segment + 1;
    const name = segmentName(next);
    const path = `${this.dir}/${name}`;
    const record = encodeRecord(this.#state.checkpoint(), null, 0);
    let handle: OpenFile | undefined;
    try {
      handle = await this.#fileSystem.open(path, 'wx', 0o600);
      await writeAll(handle, record, 0);
      await handle.datasync();
      if (this.#directoryDurable) await this.#fileSystem.syncDirectory(this.dir);
      else await this.#syncNames();
    } catch (error) {
      await this.#removeUnfinished(path, handle);
      throw error;
    }
    await this.#closeHandle().catch(() => undefined);
    this.#handle = handle;
    this.#segment = next;
    this.#end = record.length;
    this.#durableEnd = record.length;
    this.#directoryDurable = true;
    this.#suspect = false;
    this.#inlineBytes = 0;
    this.#rollAt = Math.max(SEGMENT_BYTES, record.length * CHECKPOINT_SHARE);
    this.files.set(name, record.length);
    crashPoint('spool.rolled');
  }

  async #removeUnfinished(path: string, handle: OpenFile | undefined): Promise<void> {
    try {
      await handle?.close();
      await this.#fileSystem.unlink(path).catch((error: unknown) => {
        if (systemCode(error) !== 'ENOENT') throw error;
      });
      if (handle !== undefined) await this.#fileSystem.syncDirectory(this.dir);
    } catch {
      this.#suspect = true;
    }
  }

  async #open(): Promise<OpenFile> {
    this.#handle ??= await this.#fileSystem.open(`${this.dir}/${this.currentFile}`, 'r+');
    return this.#handle;
  }

  async #closeHandle(): Promise<void> {
    forgetHandle(this);
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}

/** What has to be durable are small seals, and nothing else. */
function isSealsOnly(group: readonly Waiter[]): boolean {
  return group.every(
    ({ durable, entries }) =>
      !durable ||
      (entries.length > 0 &&
        entries.every(({ fact, payload }) => fact.t === 'seal' && payload !== null)),
  );
}

function writeFailed(dir: string, cause: unknown): FerryError {
  if (cause instanceof FerryError) return cause;
  const code = systemCode(cause);
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  return new FerryError(
    full ? 'SPOOL_NO_SPACE' : 'SPOOL_WRITE_FAILED',
    `spool ${dir}: ${asError(cause).message}`,
    {
      kind: 'storage',
      hint: full
        ? 'free space on the disk of the state directory; the journal keeps its bytes meanwhile'
        : 'check the disk of the state directory; the journal keeps its bytes meanwhile',
      context: { dir },
      cause,
    },
  );
}
