/**
 * How many jobs may wait inside this process for a connection to their destination. Waiting here
 * is quick to start but holds a BullMQ slot: a destination that hangs must not take them all.
 */
const WAITERS_PER_CONNECTION = 4;

/** Jobs that find the gate full come back by themselves one after another, so far apart. */
const RETURN_APART_MS = 10;
const RETURN_MIN_MS = 100;
const RETURN_MAX_MS = 30_000;

/**
 * So long blobs keep away from a destination that is away: thousands of them would each try for
 * themselves once per interval. Longer: one that came back waits for that.
 */
const AWAY_MS = 1_000;

/** Those of which a gate knows that they sleep; what is more comes back by itself. */
const SLEEPERS_MAX = 10_000;
/** One that was called and has not come by then was taken by another worker. */
const CALLED_MAX_MS = 1_000;

export type Entrance =
  | { entered: true; place: Place }
  /** Too many wait already, or the destination is away: come back after `ms`. */
  | { entered: false; ms: number };

/** A place among the connections to a destination. */
export interface Place {
  /** Gives it back: the connection is over. Once is enough. */
  leave(): void;
  /** It was confirmed: the destination is there. To be said before leaving, as the other. */
  reached(): void;
  /** The destination is away, as far as this attempt can say. */
  unreached(): void;
}

/** Batches before blobs: journal bytes are what others wait for. */
export type Lane = 'batch' | 'blob';

/** Ends the sleep of a job that was turned away; one that does not sleep is left alone. */
export type Call = (lane: Lane, jobId: string) => Promise<unknown>;

/**
 * Limits the connections of this process to one destination, and keeps destinations apart: one
 * that hangs holds its own connections and waiters, never another's. Each lane has waiters of its
 * own, so that a backlog of blobs cannot keep a batch out.
 *
 *     enter --place--> inside --leave--> gone, and a waiter goes inside
 *           --waiters full--> turned away, sleeps --a waiter went inside--> called --> enter
 *           --away, a blob-------->                --its time is over------> enter
 *
 * The queue is one line for all destinations. So a backlog for one is taken out of it and put to
 * sleep as fast as it comes; and it is called back as fast as places become free, because its
 * time of return can only be a guess.
 */
export class DestinationGate {
  readonly #connections: number;
  readonly #call: Call;
  /** Of a lane. */
  readonly #waitersMax: number;
  /** As many of those who sleep are called as there are waiters at a destination that is not alone. */
  readonly #calledMax: number;
  #inside = 0;
  /** Each is told whether it goes inside. */
  readonly #waiters: Record<Lane, ((inside: boolean) => void)[]> = { batch: [], blob: [] };
  readonly #sleepers: Record<Lane, Set<string>> = { batch: new Set(), blob: new Set() };
  /** Those who were called and have not come yet: since when, `performance.now()`. */
  readonly #called: Record<Lane, Map<string, number>> = { batch: new Map(), blob: new Map() };
  /** Until then blobs are turned away, `performance.now()`. */
  #awayUntil = 0;
  #reachedAt = Number.NEGATIVE_INFINITY;
  /** When the last job that was turned away is to come back. */
  #lastReturnAt = 0;

  /** @param alone whether it is the only destination: there is nobody to make room for */
  constructor(connections: number, options: { alone: boolean; call: Call }) {
    this.#connections = connections;
    this.#call = options.call;
    this.#calledMax = connections * WAITERS_PER_CONNECTION;
    this.#waitersMax = options.alone ? Number.POSITIVE_INFINITY : this.#calledMax;
  }

  /** Slots of one lane's BullMQ worker that this destination can hold at most. */
  static slots(connections: number): number {
    return connections * (1 + WAITERS_PER_CONNECTION);
  }

  async enter(lane: Lane, jobId: string): Promise<Entrance> {
    this.#called[lane].delete(jobId);
    this.#sleepers[lane].delete(jobId);
    if (this.#isShut(lane)) return { entered: false, ms: this.#turnAway(this.#awayUntil) };
    if (this.#inside < this.#connections) {
      this.#inside += 1;
      return { entered: true, place: this.#place() };
    }
    const waiters = this.#waiters[lane];
    if (waiters.length >= this.#waitersMax) return { entered: false, ms: this.#turnAway() };
    const inside = await new Promise<boolean>((resolve) => waiters.push(resolve));
    if (inside) return { entered: true, place: this.#place() };
    return { entered: false, ms: this.#turnAway(this.#awayUntil) };
  }

  #place(): Place {
    const enteredAt = performance.now();
    let left = false;
    return {
      leave: () => {
        if (left) return;
        left = true;
        const next = this.#waiters.batch.shift() ?? this.#waiters.blob.shift();
        if (next === undefined) this.#inside -= 1;
        else next(true); // the place is handed over
        this.#callSleepers('batch');
        this.#callSleepers('blob');
      },
      reached: () => {
        this.#reachedAt = performance.now();
        this.#awayUntil = 0;
      },
      unreached: () => {
        // Somebody got through meanwhile: it was this one connection, and no more.
        if (enteredAt <= this.#reachedAt) return;
        this.#awayUntil = performance.now() + AWAY_MS;
        for (const sendAway of this.#waiters.blob.splice(0)) sendAway(false);
      },
    };
  }

  /** Batches try all the same: each is its route's only one, and counts its attempts. */
  #isShut(lane: Lane): boolean {
    return lane === 'blob' && performance.now() < this.#awayUntil;
  }

  /** It was turned away, and its sleep has begun. */
  sleeps(lane: Lane, jobId: string): void {
    if (this.#sleepers[lane].size < SLEEPERS_MAX) this.#sleepers[lane].add(jobId);
    // Those who left meanwhile could not know of it.
    if (this.#inside < this.#connections) this.#callSleepers(lane);
  }

  /** As many as there is room for among the waiters, the longest sleeper first. */
  #callSleepers(lane: Lane): void {
    if (this.#isShut(lane)) return;
    const called = this.#called[lane];
    const now = performance.now();
    for (const jobId of this.#sleepers[lane]) {
      for (const [other, since] of called) {
        if (now - since < CALLED_MAX_MS) break; // in the order of their calls
        called.delete(other);
      }
      if (this.#waiters[lane].length + called.size >= this.#calledMax) return;
      this.#sleepers[lane].delete(jobId);
      called.set(jobId, now);
      void this.#call(lane, jobId).catch(() => undefined); // it comes back by itself, later
    }
  }

  /**
   * Spreads those who return, so that thousands of them are a trickle and not a storm.
   *
   * @param notBefore `performance.now()`
   */
  #turnAway(notBefore = 0): number {
    const now = performance.now();
    const free = Math.max(now + RETURN_MIN_MS, notBefore);
    const earliest = Math.max(free, this.#lastReturnAt + RETURN_APART_MS);
    this.#lastReturnAt = Math.min(earliest, now + RETURN_MAX_MS);
    return Math.round(this.#lastReturnAt - now);
  }
}
