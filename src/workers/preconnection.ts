import type { WireDestination } from '../config/model.js';
import { Connection, type Endpoint } from '../protocol/index.js';
import { resolveEndpoint } from './endpoint.js';

/**
 * An older one is not used: the far side has waited for a request, and may end it at any moment, or
 * it did not come about at a time of which nobody asks any more. Either would be counted as a failed
 * attempt. Redis mostly answers in a few milliseconds.
 */
const FRESH_MS = 1_000;

/**
 * A connection that is opened while Redis is still asked for the right to send: handshake and
 * question take about as long as each other. Not a byte of a request is written before the answer.
 */
export class Preconnection {
  /** Rejects as `resolveEndpoint` does. */
  readonly endpoint: Promise<Endpoint>;
  #connection: Promise<Connection> | undefined;
  readonly #now: () => number;
  readonly #begunAt: number;

  /**
   * @param journal as for `resolveEndpoint`
   * @param signal of the send it is for; aborted, it ends an opening that is under way
   * @param now milliseconds on a clock that only goes forward
   */
  constructor(
    destination: WireDestination,
    journal: string,
    signal: AbortSignal,
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.#begunAt = now();
    this.endpoint = resolveEndpoint(destination, journal);
    this.#connection = this.endpoint.then((endpoint) => Connection.open(endpoint, signal));
    // Whoever sends hears of it.
    this.endpoint.catch(() => undefined);
    this.#connection.catch(() => undefined);
  }

  /** Itself, while it is fresh; else it ends. */
  usable(): this | null {
    if (this.#now() - this.#begunAt <= FRESH_MS) return this;
    this.drop();
    return null;
  }

  /** For the first who asks, who has to end it. Later: undefined. */
  take(): Promise<Connection> | undefined {
    const connection = this.#connection;
    this.#connection = undefined;
    return connection;
  }

  /** Ends it, unless somebody took it. */
  drop(): void {
    void this.#connection?.then(
      (connection) => connection.close(),
      () => undefined,
    );
    this.#connection = undefined;
  }
}
