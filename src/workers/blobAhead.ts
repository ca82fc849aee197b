import type { WireDestination } from '../config/model.js';
import type { OpenBlob } from './blobFile.js';
import { Preconnection } from './preconnection.js';

/**
 * What of a blob needs no right to send, while Redis is still asked for that: its file is opened,
 * and then a connection. None for a file that is not there.
 */
export class BlobAhead {
  #payload: Promise<OpenBlob> | undefined;
  readonly #connection: Promise<Preconnection | null>;

  /**
   * @param payload is closed here unless somebody takes it
   * @param journal, signal as for `Preconnection`
   */
  constructor(
    payload: Promise<OpenBlob>,
    destination: WireDestination,
    journal: string,
    signal: AbortSignal,
  ) {
    this.#payload = payload;
    this.#connection = payload.then(
      () => new Preconnection(destination, journal, signal),
      () => null,
    );
  }

  /** For the first who asks, who has to close it. Later: undefined. Rejects as its opening did. */
  takePayload(): Promise<OpenBlob> | undefined {
    const payload = this.#payload;
    this.#payload = undefined;
    return payload;
  }

  /** While it is fresh; else null. */
  async usable(): Promise<Preconnection | null> {
    return (await this.#connection)?.usable() ?? null;
  }

  /** Ends what nobody took. */
  drop(): void {
    void this.#connection.then((connection) => connection?.drop());
    void this.takePayload()?.then(
      (payload) => payload.close().catch(() => undefined),
      () => undefined,
    );
  }
}
