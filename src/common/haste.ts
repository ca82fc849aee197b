/**
 * A call that takes longer than this, in milliseconds, has met a disk that is busy. Lower: a process
 * that was only put aside for a moment goes the long way; higher: everybody else stands still longer.
 */
const LONG_MS = 2;

/** So many times as long as a long call took, calls go through the thread pool. */
const PATIENCE = 10;

/**
 * Whether tiny calls of the file system, which touch the page cache only, may be made at once. A way
 * through the thread pool costs 30 to 60 us of CPU time, the call itself a few. But a disk that is
 * busy makes even such a call wait, and the whole process with it. So each is measured, and after a
 * long one they go through the thread pool for ten times its length: however slow the disk is, the
 * process stands still for a tenth of the time at most.
 *
 * One for each disk and kind of work. Never for syncs: these always wait for the disk.
 */
export class Haste {
  readonly #now: () => number;
  #patientUntil = Number.NEGATIVE_INFINITY;

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
      const took = ended - begun;
      if (took > LONG_MS) this.#patientUntil = ended + PATIENCE * took;
    }
  }
}
