/** Shorter calls have not waited for a disk, in milliseconds. */
const LONG_MS = 2;

/**
 * So much may be lost in long calls at once, in milliseconds. Less: a process that was only put
 * aside for a moment, on a busy machine, goes the long way; more: everybody else stands still longer.
 */
const LOST_MAX_MS = 10;

/** Of the time, so much may be lost for ever. */
const LOST_SHARE = 0.1;

/**
 * Whether tiny calls of the file system, which touch the page cache only, may be made at once. A way
 * through the thread pool costs 30 to 60 us of CPU time, the call itself a few. But a disk that is
 * busy makes even such a call wait, and the whole process with it. So each is measured, and when too
 * much was lost in long ones they go through the thread pool for ten times as long: however slow
 * the disk is, the process stands still for a tenth of the time at most.
 *
 * One for each disk and kind of work, shared by all who do it. Never for syncs: these always wait for
 * the disk.
 */
export class Haste {
  readonly #now: () => number;
  #patientUntil = Number.NEGATIVE_INFINITY;
  /** What long calls have cost, less what may be lost since. */
  #lostMs = 0;
  #lostAt = Number.NEGATIVE_INFINITY;

  /** @param now milliseconds on a clock that only goes forward */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Calls go through the thread pool at this moment. */
  get isPatient(): boolean {
    return this.#now() < this.#patientUntil;
  }

  /**
   * Does a piece of work in one of two ways that come to the same.
   *
   * @param atOnce with synchronous calls
   * @param patiently through the thread pool
   * @returns what the work returns; no promise where it was done at once
   * @throws whatever the work throws, at once or as a rejection
   */
  run<T>(atOnce: () => T, patiently: () => Promise<T>): T | Promise<T> {
    const begun = this.#now();
    if (begun < this.#patientUntil) return patiently();
    try {
      return atOnce();
    } finally {
      const ended = this.#now();
      if (ended - begun > LONG_MS) this.#lose(begun, ended);
    }
  }

  #lose(begun: number, ended: number): void {
    const regained = (begun - this.#lostAt) * LOST_SHARE;
    this.#lostMs = Math.max(0, this.#lostMs - regained) + (ended - begun);
    this.#lostAt = ended;
    if (this.#lostMs <= LOST_MAX_MS) return;
    this.#patientUntil = ended + this.#lostMs / LOST_SHARE;
    this.#lostMs = 0;
  }
}

/** That of blob directories, which may lie on a disk of their own. */
export const blobHaste = new Haste();
