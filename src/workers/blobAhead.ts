import type { WireDestination } from '../config/model.js';
import type { OpenBlob } from './blobFile.js';
import { FRESH_MS, Preconnection } from './preconnection.js';

/**
 * What of a blob needs no right to send, while Redis is still asked for that: its file is opened,
 * and then a connection. None for a file that is not there.
 */
export class BlobAhead {
  #payload: Promise<OpenBlob> | undefined;
  readonly #connection: Promise<Preconnection | null>;
  readonly #now: () => number;
  readonly #begunAt: number;

  /**
   * @param payload is closed here unless somebody takes it
   * @param journal, signal, now as for `Preconnection`
   */
  constructor(
    payload: Promise<OpenBlob>,
    destination: WireDestination,
    journal: string,
    signal: AbortSignal,
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.#begunAt = now();
    this.#payload = payload;
    this.#connection = payload.then(
      () => new Preconnection(destination, journal, signal, now),
      () => null,
    );
  }

  /**
   * For the first who asks, who has to close it. Null: it is taken, or it is no longer what lies
   * there now, perhaps: an old one, or one that was not there.
   */
  async takePayload(): Promise<OpenBlob | null> {
    const taken = this.#payload;
    this.#payload = undefined;
    const payload = await taken?.catch(() => null);
    if (payload === undefined || payload === null) return null;
    if (this.#now() - this.#begunAt <= FRESH_MS) return payload;
    await payload.close().catch(() => undefined);
    return null;
  }

  /** While it is fresh; else null. */
  async usable(): Promise<Preconnection | null> {
    return (await this.#connection)?.usable() ?? null;
  }

  /** Ends what nobody took. */
  drop(): void {
    void this.#connection.then((connection) => connection?.drop());
    void this.takePayload().then((payload) => payload?.close().catch(() => undefined));
  }
}
