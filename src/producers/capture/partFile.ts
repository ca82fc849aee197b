/**
 * The copy of a large journal in the making: the `.batch` file that a seal will name. Copied
 * front to back, hashed on the way.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { FerryError } from '../../common/errors.js';
import type { OpenFile } from '../../common/openFile.js';
import { readAhead } from '../../common/readAhead.js';
import { readFully } from '../../common/readFully.js';
import { writeAll } from '../spool/handles.js';
import type { Spool } from '../spool/spool.js';

/** Larger gains nothing, smaller costs turns through the thread pool. */
const COPY_BYTES = 1024 * 1024;
/** Behind so much a sync begins beside the copying: the disk would stand idle until the last byte. */
const SYNC_AHEAD_BYTES = 32 * 1024 * 1024;
/** First and last block of the copied range are compared under the lock. */
const CHECK_BYTES = 4096;

export class PartFile {
  readonly sequence: number;
  /** Bytes copied so far. */
  copied = 0;
  /** Below this the journal may be a hole; this copy is the only one. */
  trimmed = 0;
  readonly #spool: Spool;
  readonly #handle: OpenFile;
  /** Offset in the journal of the copy's first byte. */
  readonly #base: number;
  readonly #hash: Hash = createHash('sha256');
  /** Runs ahead of `copied` for ever where a write has failed. */
  #hashed = 0;
  #synced = 0;
  #named = false;
  /** The sync that runs beside the copying; never rejects. */
  #ahead: Promise<void> | null = null;
  #aheadThrough = 0;
  /** Of that sync: the kernel says it once, and a later sync may pass although bytes are gone. */
  #aheadError: { error: unknown } | null = null;

  private constructor(spool: Spool, sequence: number, handle: OpenFile, base: number) {
    this.#spool = spool;
    this.sequence = sequence;
    this.#handle = handle;
    this.#base = base;
  }

  /** An empty copy of the journal from `base` on. The caller made sure that no seal names the file. */
  static async create(spool: Spool, base = 0): Promise<PartFile> {
    const sequence = spool.nextSequence;
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
    const handle = await spool.fileSystem.open(spool.partPath(sequence), flags, 0o600);
    return new PartFile(spool, sequence, handle, base);
  }

  /** A copy whose first `bytes` bytes are the only ones left: goes on behind them. */
  static async resume(spool: Spool, sequence: number, bytes: number): Promise<PartFile> {
    const handle = await spool.fileSystem.open(spool.partPath(sequence), constants.O_RDWR);
    const part = new PartFile(spool, sequence, handle, 0);
    try {
      for await (const chunk of readAhead(handle, 0, bytes, COPY_BYTES)) {
        part.#hash.update(chunk);
        part.copied += chunk.length;
      }
      part.#hashed = part.copied;
      if (part.copied < bytes) {
        throw new FerryError('SPOOL_DAMAGED', `${spool.partPath(sequence)} is too short`, {
          kind: 'storage',
          retry: false,
          hint: `the first ${bytes} bytes of the journal exist only there: restore that file`,
        });
      }
      await handle.truncate(bytes);
    } catch (error) {
      await handle.close();
      throw error;
    }
    part.trimmed = bytes;
    part.#synced = bytes;
    part.#aheadThrough = bytes;
    part.#named = true;
    return part;
  }

  get handle(): OpenFile {
    return this.#handle;
  }

  /** Copies the journal's bytes up to `until` (an offset in the journal). */
  async copyTo(journal: OpenFile, until: number, signal?: AbortSignal): Promise<void> {
    const at = this.#base + this.copied;
    for await (const chunk of readAhead(journal, at, until - at, COPY_BYTES)) {
      signal?.throwIfAborted();
      // The disk's copying and ours go on beside each other; an error of it comes out below.
      const writing = writeAll(this.#handle, chunk, this.copied);
      this.#hash.update(chunk);
      this.#hashed += chunk.length;
      await writing;
      this.copied += chunk.length;
      this.#spool.notePartBytes(this.sequence, this.copied);
      this.#syncAhead();
    }
  }

  /** What was copied so far is durable, name and all, when this resolves. */
  async sync(): Promise<void> {
    await this.#ahead;
    if (this.#aheadError !== null) throw this.#aheadError.error;
    if (this.#synced === this.copied && this.#named) return;
    await this.#handle.datasync();
    this.#synced = this.copied;
    if (this.#named) return;
    await this.#spool.fileSystem.syncDirectory(this.#spool.dir);
    this.#named = true;
  }

  #syncAhead(): void {
    if (this.#ahead !== null || this.copied - this.#aheadThrough < SYNC_AHEAD_BYTES) return;
    this.#aheadThrough = this.copied;
    this.#ahead = this.#handle.datasync().then(
      () => {
        this.#ahead = null;
      },
      (error: unknown) => {
        this.#aheadError = { error };
      },
    );
  }

  /** SHA-256 of what was copied so far. @throws Error: a write has failed, the copy is spoiled */
  digest(): string {
    if (this.#hashed !== this.copied) {
      throw new Error('more was digested of a journal than was copied');
    }
    return this.#hash.copy().digest('hex');
  }

  /** First (behind a trimmed range) and last block of the copy equal the journal's. */
  async matches(journal: OpenFile): Promise<boolean> {
    const first = Math.min(this.trimmed, this.copied);
    const last = Math.max(first, this.copied - CHECK_BYTES);
    return (await this.#sameAt(journal, first)) && (await this.#sameAt(journal, last));
  }

  async close(): Promise<void> {
    await this.#ahead;
    await this.#handle.close();
  }

  /** Closes and deletes the copy. Not for a trimmed one, nor for one that a seal may name. */
  async discard(): Promise<void> {
    await this.close();
    await this.#spool.fileSystem.unlink(this.#spool.partPath(this.sequence));
    this.#spool.notePartBytes(this.sequence, 0);
  }

  async #sameAt(journal: OpenFile, offset: number): Promise<boolean> {
    const length = Math.min(CHECK_BYTES, this.copied - offset);
    const here = Buffer.allocUnsafe(length);
    const there = Buffer.allocUnsafe(length);
    const got = await readFully(journal, here, length, this.#base + offset);
    if ((await readFully(this.#handle, there, length, offset)) < length) return false;
    return got === length && here.equals(there);
  }
}
