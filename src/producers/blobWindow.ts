import type { PendingBlob } from './spool/types.js';

/**
 * So many blobs of a route have a job in Redis, the oldest first, however many wait: a job takes a
 * kilobyte there. Too few: connections stand idle until the next confirmations are taken over.
 */
const AHEAD = 1_000;

/** And so many more when that many have failed. Where nothing gets through, more would only wait. */
const FAILING_MAX = 9_000;

/** The blobs of one route that have a job in Redis, as far as this process knows. */
export class BlobWindow {
  /** By link. */
  readonly #versions = new Map<string, number>();

  get size(): number {
    return this.#versions.size;
  }

  has({ link, version }: PendingBlob): boolean {
    return this.#versions.get(link) === version;
  }

  /** Some version of it. */
  hasLink({ link }: PendingBlob): boolean {
    return this.#versions.has(link);
  }

  add({ link, version }: PendingBlob): void {
    this.#versions.set(link, version);
  }

  delete({ link }: PendingBlob): void {
    this.#versions.delete(link);
  }

  clear(): void {
    this.#versions.clear();
  }

  /**
   * For how many more there is room.
   *
   * @param failing of them have failed: they are retried for as long as it takes, and must not keep
   *   those behind them out
   */
  room(failing: number): number {
    const notFailing = Math.max(0, this.size - Math.min(failing, FAILING_MAX));
    return Math.max(0, AHEAD - notFailing);
  }
}
