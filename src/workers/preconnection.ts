import type { WireDestination } from '../config/model.js';
import { Connection, type Endpoint } from '../protocol/index.js';
import { resolveEndpoint } from './endpoint.js';

/**
 * A connection that is opened while Redis is still asked for the right to send: handshake and
 * question take about as long as each other. Not a byte of a request is written before the answer.
 */
export class Preconnection {
  /** Rejects as `resolveEndpoint` does. */
  readonly endpoint: Promise<Endpoint>;
  #connection: Promise<Connection> | undefined;

  /**
   * @param journal as for `resolveEndpoint`
   * @param signal of the send it is for; aborted, it ends an opening that is under way
   */
  constructor(destination: WireDestination, journal: string, signal: AbortSignal) {
    this.endpoint = resolveEndpoint(destination, journal);
    this.#connection = this.endpoint.then((endpoint) => Connection.open(endpoint, signal));
    // Whoever sends hears of it.
    this.endpoint.catch(() => undefined);
    this.#connection.catch(() => undefined);
  }

  /** For the first who asks, who has to end it. Later: undefined. */
  take(): Promise<Connection> | undefined {
    const connection = this.#connection;
    this.#connection = undefined;
    return connection;
  }

  /** Ends it, unless somebody took it. */
  drop(): void {
    void this.take()?.then(
      (connection) => connection.close(),
      () => undefined,
    );
  }
}
