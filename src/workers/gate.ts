/**
 * How many jobs may wait inside this process for a connection to their destination. Waiting here
 * is quick to start but holds a BullMQ slot: a destination that hangs must not take them all.
 */
const WAITERS_PER_CONNECTION = 4;

/** Jobs that find the gate full come back one after another, so far apart. */
const RETURN_APART_MS = 10;
const RETURN_MIN_MS = 100;
const RETURN_MAX_MS = 30_000;

export type Entrance =
  | { entered: true; leave: () => void }
  /** Too many wait already: come back after `ms`. */
  | { entered: false; ms: number };

/** Batches before blobs: journal bytes are what others wait for. */
export type Lane = 'batch' | 'blob';

/**
 * Limits the connections of this process to one destination, and keeps destinations apart: one
 * that hangs holds its own connections and waiters, never another's. Each lane has waiters of its
 * own, so that a backlog of blobs cannot keep a batch out.
 */
export class DestinationGate {
  readonly #connections: number;
  #inside = 0;
  readonly #waiters: Record<Lane, (() => void)[]> = { batch: [], blob: [] };
  /** When the last job that was turned away is to come back. */
  #lastReturnAt = 0;

  constructor(connections: number) {
    this.#connections = connections;
  }

  /** Slots of one lane's BullMQ worker that this destination can hold at most. */
  static slots(connections: number): number {
    return connections * (1 + WAITERS_PER_CONNECTION);
  }

  async enter(lane: Lane): Promise<Entrance> {
    if (this.#inside >= this.#connections) {
      const waiters = this.#waiters[lane];
      if (waiters.length >= this.#connections * WAITERS_PER_CONNECTION) {
        return { entered: false, ms: this.#turnAway() };
      }
      await new Promise<void>((resolve) => waiters.push(resolve));
    } else {
      this.#inside += 1;
    }
    let left = false;
    return {
      entered: true,
      leave: () => {
        if (left) return;
        left = true;
        const next = this.#waiters.batch.shift() ?? this.#waiters.blob.shift();
        if (next === undefined) this.#inside -= 1;
        else next(); // the place is handed over
      },
    };
  }

  /** Spreads those who return, so that thousands of them are a trickle and not a storm. */
  #turnAway(): number {
    const now = performance.now();
    const earliest = Math.max(now + RETURN_MIN_MS, this.#lastReturnAt + RETURN_APART_MS);
    this.#lastReturnAt = Math.min(earliest, now + RETURN_MAX_MS);
    return Math.round(this.#lastReturnAt - now);
  }
}
