import type { BlobStates } from '../queue/routeState.js';
import type { PendingBlob } from './spool/types.js';

/**
 * So many blobs of a route have a job in Redis, the oldest first, however many wait: a job takes a
 * kilobyte there. Too few: connections stand idle until the next confirmations are taken over.
 */
const AHEAD = 1_000;

/** And so many more, when that many have failed by themselves: they keep others out only then. */
const FAILING_MAX = 9_000;

/** The blobs of one route that have a job in Redis, as far as this process knows. */
export class BlobWindow {
  /** By link: the version that was handed over last. */
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
   * @param failing have failed, each for a reason of its own: they are retried for as long as it
   *   takes, and must not keep those behind them out
   */
  room(failing: number): number {
    const notFailing = Math.max(0, this.size - Math.min(failing, FAILING_MAX));
    return Math.max(0, AHEAD - notFailing);
  }
}

/** What is to be done about blobs that wait, each with the destination that it is about. */
export interface BlobsDue {
  /** Redis knows of a confirmation that the spool does not. */
  confirmed: [PendingBlob, string][];
  /** They may have a job now. */
  unfed: [PendingBlob, string][];
  /** Every route has confirmed them. */
  complete: PendingBlob[];
}

/**
 * Looks at the blobs that wait, the oldest first, as far as the windows reach: of many thousands
 * only those.
 *
 * @param destinations every route of the journal, orphaned ones too
 * @param windows of the destinations in the configuration
 */
export function blobsDue(
  pending: Iterable<PendingBlob>,
  destinations: readonly string[],
  windows: ReadonlyMap<string, BlobWindow>,
  states: ReadonlyMap<string, BlobStates>,
  keyOf: (blob: PendingBlob) => string,
): BlobsDue {
  const due: BlobsDue = { confirmed: [], unfed: [], complete: [] };
  const rooms = new Map<string, number>();
  let unseen = 0;
  for (const [to, window] of windows) {
    rooms.set(to, window.room(states.get(to)?.failing ?? 0));
    unseen += window.size;
  }
  for (const blob of pending) {
    if (unseen === 0 && [...rooms.values()].every((room) => room === 0)) break;
    let open = 0;
    for (const to of destinations) {
      const window = windows.get(to);
      const hasPlace = window?.hasLink(blob) === true;
      if (hasPlace) unseen -= 1;
      if (blob.confirmedBy.includes(to)) continue;
      const room = rooms.get(to) ?? 0;
      const version = states.get(to)?.confirmed.get(keyOf(blob))?.version ?? 0;
      if (version >= blob.version) {
        due.confirmed.push([blob, to]);
        if (hasPlace) rooms.set(to, room + 1);
        continue;
      }
      open += 1;
      if (window === undefined || window.has(blob)) continue;
      // One that was made again keeps the place of the version before.
      if (!hasPlace && room === 0) continue;
      due.unfed.push([blob, to]);
      if (!hasPlace) rooms.set(to, room - 1);
    }
    if (open === 0) due.complete.push(blob);
  }
  return due;
}
