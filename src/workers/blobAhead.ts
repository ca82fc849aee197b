import type { WireDestination } from '../config/model.js';
import type { OpenBlob } from './blobFile.js';
import { Preconnection } from './preconnection.js';

/**
 * What of a blob needs no right to send, while Redis is still asked for that: its file is opened,
 * and then a connection. None for a file that is not there.
 */
export class BlobAhead {
  #begun: Promise<{ payload: OpenBlob; connection: Preconnection } | null>;

  /**
   * @param payload is closed here unless somebody takes it
   * @param journal, signal, now as for `Preconnection`
   */
  constructor(
    payload: Promise<OpenBlob>,
    destination: WireDestination,
    journal: string,
    signal: AbortSignal,
    now?: () => number,
  ) {
    this.#begun = payload.then(
      (opened) => ({
        payload: opened,
        connection: new Preconnection(destination, journal, signal, now),
      }),
      () => null,
    );
  }

  /**
   * For the first who asks, who has to close the file and to take the connection or drop it. Null: it
   * is taken, or no longer what lies there now, perhaps: an old one, or one that was not there.
   */
  async take(): Promise<{ payload: OpenBlob; connection: Preconnection } | null> {
    const taken = this.#begun;
    this.#begun = Promise.resolve(null);
    const begun = await taken;
    if (begun === null || begun.connection.usable() !== null) return begun;
    await begun.payload.close().catch(() => undefined);
    return null;
  }

  /** Ends what nobody took. */
  async drop(): Promise<void> {
    const begun = await this.take();
    begun?.connection.drop();
    await begun?.payload.close().catch(() => undefined);
  }
}
