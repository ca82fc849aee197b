/**
 * Takes what stands in a journal over into its spool.
 *
 *   unclear --recovery--> clear --capture--> clear
 *   clear --capture fails behind its seal--> unclear
 *
 * A new `JournalCapture` is unclear: a former process may have ended between seal and truncation.
 * One thing at a time: captures, recoveries and the choice of what to settle queue up.
 *
 * One capture: look -> (large: pre-copy -> maybe trim) -> lock -> check -> seal and truncate. A
 * journal that turns out not to be the one that was copied sends it back to the look, with the
 * copy dropped; a trimmed copy is the only one of its bytes and is never dropped.
 *
 * Settling: fsync of the journal costs a flush for its writer, and makes the next truncation cost
 * more, which then has blocks to free. So it is done once for many captures, and with many journals
 * one after the other, in a part of the time. Until then a power cut may bring captured bytes back, and the spool keeps them to
 * compare with.
 */

import { crashPoint } from '../../common/crashPoints.js';
import { asError } from '../../common/errors.js';
import type { OpenFile } from '../../common/openFile.js';
import { Paced } from '../../common/paced.js';
import { Semaphore } from '../../common/semaphore.js';
import type { Spool } from '../spool/spool.js';
import { holeOrCopy } from './compare.js';
import { closerOf, journalSize, openJournalFile, statOpened } from './journalFile.js';
import { lockJournal } from './lock.js';
import {
  type CaptureNote,
  type CaptureOutcome,
  changedWhileTrimmed,
  isOutOfSpace,
  type RecoveryOutcome,
  unstable,
} from './outcomes.js';
import { PartFile } from './partFile.js';
import { recoverJournal } from './recovery.js';
import { DISK_FLOOR_BYTES, heldFor } from './room.js';
import { dropPart, type Hold, INLINE_MAX_BYTES, sealAndTruncate } from './seal.js';
import { releasePrefix } from './trim.js';

export interface JournalCaptureOptions {
  spool: Spool;
  /** The journal, absolute. */
  path: string;
  /** `flush.trimAbove`; null: off (default). */
  trimAboveBytes?: number | null;
  /** `limits.spool`. Default: none. */
  spoolBytesMax?: number;
  /** Default `DISK_FLOOR_BYTES`. */
  diskFloorBytes?: number;
  /** Age at which captures are settled, in ms. Default `SETTLE_AFTER_MS`. */
  settleAfterMs?: number;
  /** Trouble in the background (settling); not called for what an outcome or error says. */
  onNote?: (note: CaptureNote) => void;
}

/** Longer: more payload kept for comparison; shorter: more flushes on the writer's disk. */
export const SETTLE_AFTER_MS = 1000;
/** So many captures are settled at once even in less time. */
const SETTLE_CAPTURES_MAX = 64;
/** A settling that finds new bytes waits so often, for a second in all. */
const SETTLE_POSTPONED_MAX = 8;
/** Rounds of copy and sync without the lock. A writer faster than our disk ends them. */
const COPY_ROUNDS_MAX = 20;
/** A tail longer than this is worth another round without the lock, so many times. */
const TAIL_MAX_BYTES = 8 * 1024 * 1024;
const RESTARTS_MAX = 5;
/** Pre-copies at once in the process: each has two buffers of 1 MiB and its disk for itself. */
const precopies = new Semaphore(2);
const settles = new Paced({ share: 0.1, pauseMaxMs: 20 });

/** Why a capture goes back to the look. `grown`: the copy is right and is kept. */
type Again = { again: 'replaced' | 'shrunk' | 'changed' | 'grown' };

const NOTE_CODES = {
  replaced: 'JOURNAL_REPLACED',
  shrunk: 'JOURNAL_SHRUNK',
  changed: 'JOURNAL_CHANGED',
} as const;

export class JournalCapture {
  readonly path: string;
  readonly #spool: Spool;
  readonly #trimAboveBytes: number;
  readonly #limits: { spoolBytes: number; diskFloorBytes: number };
  readonly #settleAfterMs: number;
  readonly #onNote: (note: CaptureNote) => void;
  #unclear = true;
  #last: Promise<unknown> = Promise.resolve();
  #settleTimer: NodeJS.Timeout | undefined;
  #settling: Promise<void> | undefined;
  #postponed = 0;
  /** Newest batch whose truncation this process knows of. */
  #truncatedThrough = 0;
  #closed = false;

  constructor(options: JournalCaptureOptions) {
    this.path = options.path;
    this.#spool = options.spool;
    this.#trimAboveBytes = options.trimAboveBytes ?? Number.POSITIVE_INFINITY;
    this.#limits = {
      spoolBytes: options.spoolBytesMax ?? Number.POSITIVE_INFINITY,
      diskFloorBytes: options.diskFloorBytes ?? DISK_FLOOR_BYTES,
    };
    this.#settleAfterMs = options.settleAfterMs ?? SETTLE_AFTER_MS;
    this.#onNote = options.onNote ?? (() => undefined);
  }

  /**
   * Finds out whether the last captured bytes are still in the journal and takes them out. To be
   * called before the first capture (which does it itself otherwise). Throws JOURNAL_MISSING and
   * the like when it has to look and cannot; it is then tried again by the next capture.
   */
  recover(signal?: AbortSignal): Promise<RecoveryOutcome> {
    return this.#oneAtATime(() => this.#recover([], signal));
  }

  /**
   * Captures all that stands in the journal as one batch.
   *
   * Throws JOURNAL_MISSING, _NOT_WRITABLE, _NOT_READABLE, _NOT_A_FILE, _NOT_LOCKABLE, _UNSTABLE,
   * _SHRUNK, _WRITTEN_WITHOUT_LOCK, _CHANGED_WHILE_TRIMMED, SPOOL_WRITE_FAILED, or the signal's
   * reason. Nothing is lost by any of them, and every one may be tried again.
   *
   * @param seen bytes that the caller has just seen there; default: it is looked at
   */
  capture(signal?: AbortSignal, seen?: number): Promise<CaptureOutcome> {
    return this.#oneAtATime(async () => {
      try {
        return await this.#capture(signal, seen);
      } catch (error) {
        // Whether a seal came before the fault does not matter: the recovery finds out.
        this.#unclear = true;
        if (isOutOfSpace(error)) return { held: 'disk-floor' };
        throw error;
      }
    });
  }

  /** Settles now what would be settled later. Trouble goes to `onNote`. */
  settle(): Promise<void> {
    return this.#settleOnce(true);
  }

  /** Waits for a capture under way and settles. The spool stays open. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last.catch(() => undefined);
    // One that is in line already is hurried by somebody who waits behind it.
    if (this.#settling !== undefined) await settles.run(async () => undefined, true);
    await this.#settling;
    await this.settle();
  }

  async #oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #recover(notes: CaptureNote[], signal?: AbortSignal): Promise<RecoveryOutcome> {
    const outcome = await recoverJournal(this.#spool, this.path, notes, signal);
    this.#unclear = false;
    this.#truncated(this.#spool.lastSequence);
    return outcome;
  }

  async #capture(signal?: AbortSignal, seen?: number): Promise<CaptureOutcome> {
    const notes: CaptureNote[] = [];
    let known = seen;
    if (this.#unclear) {
      known = undefined; // it may take out just those, and wait for the lock meanwhile
      const outcome = await this.#recover(notes, signal);
      if (outcome.found === 'leftover' && outcome.captured !== null) {
        return { captured: outcome.captured, lockHeldMs: outcome.lockHeldMs, notes };
      }
    }
    for (let restarts = 0; ; restarts += 1) {
      const outcome = await this.#captureOnce(notes, signal, known);
      known = undefined;
      if (!('again' in outcome)) return outcome;
      if (outcome.again !== 'grown') {
        const why = `the journal was ${outcome.again} while it was being copied`;
        notes.push({ code: NOTE_CODES[outcome.again], message: `${this.path}: ${why}` });
        if (restarts >= RESTARTS_MAX) throw unstable(this.path, restarts + 1, why);
      }
    }
  }

  async #captureOnce(
    notes: CaptureNote[],
    signal?: AbortSignal,
    seen?: number,
  ): Promise<CaptureOutcome | Again> {
    const size = seen ?? (await journalSize(this.path));
    const trimmed = this.#spool.trimMark !== null;
    if (size === 0 && !trimmed) return { empty: true };
    const held = await heldFor(this.#spool, size, this.#limits);
    if (held !== null) return { held };
    const journal = await openJournalFile(this.#spool.fileSystem, this.path);
    const close = closerOf(journal);
    try {
      let part: PartFile | null = null;
      for (let tries = 1; ; tries += 1) {
        if (trimmed || part !== null || size > INLINE_MAX_BYTES || tries > 1) {
          part = await this.#precopy(journal, part, signal);
        }
        const grows = tries <= RESTARTS_MAX;
        const outcome = await this.#hold({ journal, close }, part, notes, grows, signal);
        if (!('again' in outcome) || outcome.again !== 'grown') return outcome;
      }
    } finally {
      await close();
    }
  }

  /** Copies without the lock until little is left. Owns `part` while it is at work. */
  async #precopy(
    journal: OpenFile,
    given: PartFile | null,
    signal?: AbortSignal,
  ): Promise<PartFile> {
    return precopies.run(async () => {
      const part = given ?? (await this.#startPart(journal));
      try {
        for (let round = 0; round < COPY_ROUNDS_MAX; round += 1) {
          const { size } = await journal.stat();
          await part.copyTo(journal, size, signal);
          await part.sync();
          if (part.copied >= this.#trimAboveBytes) await this.#trim(journal, part);
          if ((await journal.stat()).size - part.copied <= INLINE_MAX_BYTES) break;
        }
        crashPoint('capture.precopied');
        return part;
      } catch (error) {
        await dropPart(this.#spool, part);
        throw error;
      }
    });
  }

  async #startPart(journal: OpenFile): Promise<PartFile> {
    const mark = this.#spool.trimMark;
    if (mark === null) return PartFile.create(this.#spool);
    const part = await PartFile.resume(this.#spool, mark.sequence, mark.bytes);
    const { size } = await journal.stat();
    if (size >= mark.bytes && (await holeOrCopy(journal, part.handle, mark.bytes))) return part;
    await part.close();
    throw changedWhileTrimmed(this.path, this.#spool.partPath(mark.sequence), mark.bytes);
  }

  async #trim(journal: OpenFile, part: PartFile): Promise<void> {
    const { ino } = await journal.stat();
    await releasePrefix(journal, part, this.#spool, ino, async () => {
      const stats = statOpened(journal.fd, this.path);
      return stats !== undefined && stats.size >= part.copied && (await part.matches(journal));
    });
  }

  /** Locks, checks, seals. Owns `part`, except when it answers `grown`. */
  async #hold(
    { journal, close }: Pick<Hold, 'journal' | 'close'>,
    part: PartFile | null,
    notes: CaptureNote[],
    mayGrow: boolean,
    signal?: AbortSignal,
  ): Promise<CaptureOutcome | Again> {
    let owned = part;
    try {
      const lock = await lockJournal(journal.fd, this.path, signal);
      try {
        crashPoint('capture.locked');
        const stats = statOpened(journal.fd, this.path);
        const why = await this.#notTheSame(stats?.size, journal, part);
        if (why !== null) return { again: why };
        const { size, ino: inode } = stats ?? { size: 0, ino: 0 };
        if (size === 0) return { empty: true };
        const tail = size - (part?.copied ?? 0);
        if (mayGrow && tail > (part === null ? INLINE_MAX_BYTES : TAIL_MAX_BYTES)) {
          owned = null;
          return { again: 'grown' };
        }
        owned = null;
        const hold = { spool: this.#spool, journal, close, path: this.path, lock, notes };
        const { batch, lockHeldMs } = await sealAndTruncate(hold, {
          size,
          inode,
          part,
          base: 0,
          follows: 0,
        });
        this.#truncated(batch.sequence);
        return { captured: batch, lockHeldMs, notes };
      } finally {
        lock.release();
      }
    } finally {
      if (owned !== null) await dropPart(this.#spool, owned);
    }
  }

  /** Under the lock: is it the file that was copied, and does it still hold the copied bytes? */
  async #notTheSame(
    size: number | undefined,
    journal: OpenFile,
    part: PartFile | null,
  ): Promise<'replaced' | 'shrunk' | 'changed' | null> {
    let why: 'replaced' | 'shrunk' | 'changed' | null = null;
    if (size === undefined) why = 'replaced';
    else if (part !== null && size < part.copied) why = 'shrunk';
    else if (part !== null && !(await part.matches(journal))) why = 'changed';
    if (why !== null && part !== null && part.trimmed > 0) {
      throw changedWhileTrimmed(this.path, this.#spool.partPath(part.sequence), part.trimmed);
    }
    return why;
  }

  #truncated(sequence: number): void {
    this.#truncatedThrough = Math.max(this.#truncatedThrough, sequence);
    const open = this.#truncatedThrough - this.#spool.settledThrough;
    if (open <= 0 || this.#closed) return;
    const settle = (): void => void this.#settleOnce(false);
    if (open >= SETTLE_CAPTURES_MAX) settle();
    else this.#settleTimer ??= setTimeout(settle, this.#settleAfterMs).unref();
  }

  /**
   * New bytes are in the journal: the sync would bring them to the disk, too, where their truncation
   * costs ten times as much. A moment later the journal is empty again, mostly.
   */
  #isWorthWaiting(size: number): boolean {
    const open = this.#truncatedThrough - this.#spool.settledThrough;
    if (size === 0 || open >= SETTLE_CAPTURES_MAX || this.#closed) return false;
    this.#postponed += 1;
    if (this.#postponed > SETTLE_POSTPONED_MAX) return false;
    const settle = (): void => void this.#settleOnce(false);
    this.#settleTimer ??= setTimeout(settle, this.#settleAfterMs / SETTLE_POSTPONED_MAX).unref();
    return true;
  }

  /** One that is queued already is not hurried: a stop does that, with its own. */
  async #settleOnce(urgent: boolean): Promise<void> {
    clearTimeout(this.#settleTimer);
    this.#settleTimer = undefined;
    this.#settling ??= this.#settle(urgent).finally(() => {
      this.#settling = undefined;
    });
    await this.#settling;
  }

  async #settle(urgent: boolean): Promise<void> {
    // A seal that is still open must not be settled along with the others.
    const through = this.#truncatedThrough;
    if (through <= this.#spool.settledThrough) return;
    try {
      await settles.run(async () => {
        const journal = await openJournalFile(this.#spool.fileSystem, this.path);
        try {
          if (!urgent && this.#isWorthWaiting((await journal.stat()).size)) return;
          await journal.sync();
        } finally {
          await journal.close();
        }
        this.#postponed = 0;
        await this.#spool.recordSettled(through);
        crashPoint('capture.settled');
      }, urgent);
    } catch (error) {
      // It stays unsettled: the spool keeps its payload, and the next capture tries again.
      this.#onNote({ code: 'SETTLE_FAILED', message: asError(error).message });
    }
  }
}
