/**
 * How many jobs may wait inside this process for a connection to their destination. Waiting here
 * is quick to start but holds a BullMQ slot: a destination that hangs must not take them all.
 */
const WAITERS_PER_CONNECTION = 4;

/** A job that finds the gate full comes back after so long, then twice as long, and so on. */
const FULL_PAUSE_MIN_MS = 100;
const FULL_PAUSE_MAX_MS = 5_000;

export type Entrance =
  | { entered: true; leave: () => void }
  /** Too many wait already: come back after `ms`. */
  | { entered: false; ms: number };

/**
 * Limits the connections of this process to one destination, and keeps destinations apart: one
 * that hangs holds its own connections and waiters, never another's.
 */
export class DestinationGate {
  readonly #connections: number;
  #inside = 0;
  #fullInARow = 0;
  readonly #waiters: (() => void)[] = [];

  constructor(connections: number) {
    this.#connections = connections;
  }

  /** Slots of a BullMQ worker that this destination can hold at most. */
  static slots(connections: number): number {
    return connections * (1 + WAITERS_PER_CONNECTION);
  }

  async enter(): Promise<Entrance> {
    if (this.#inside >= this.#connections) {
      if (this.#waiters.length >= this.#connections * WAITERS_PER_CONNECTION) {
        this.#fullInARow = Math.min(this.#fullInARow + 1, 16);
        const base = Math.min(
          FULL_PAUSE_MIN_MS * 2 ** Math.floor(this.#fullInARow / this.#connections),
          FULL_PAUSE_MAX_MS,
        );
        return { entered: false, ms: Math.round(base * (0.75 + Math.random() / 2)) };
      }
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    } else {
      this.#inside += 1;
    }
    this.#fullInARow = 0;
    let left = false;
    return {
      entered: true,
      leave: () => {
        if (left) return;
        left = true;
        const next = this.#waiters.shift();
        if (next === undefined) this.#inside -= 1;
        else next(); // the place is handed over
      },
    };
  }
}
