import { addressOf, type Endpoint } from '../endpoint.js';
import { aborted, wireError, withContext } from '../errors.js';
import type { SendRequest, SendResult } from '../send.js';
import { sessionId } from '../tlsTrust.js';
import { Exchange, type H2Attempt } from './exchange.js';
import { requestHeaders } from './headers.js';
import { KEPT_LIMITS, type KeptLimits, KeptSession } from './session.js';

/** A request that the far side did not look at is sent once more, over another connection. */
const TRIES_MAX = 2;
/**
 * Connections that are waited for until one has room for a request. More are needed only where the
 * far side allows few streams on each, and others are quicker.
 */
const OPENINGS_MAX = 10;

/**
 * Sends over HTTP/2, to receivers of ours: the connections of a process, kept and shared by all
 * requests to the same place with the same trust. A further one is opened only when the far side
 * allows no more streams on those that are there.
 */
export class H2Client {
  readonly #kept = new Map<string, KeptSession[]>();
  readonly #opening = new Map<string, Promise<KeptSession>>();
  readonly #stop = new AbortController();
  readonly #limits: KeptLimits;

  constructor(limits: KeptLimits = KEPT_LIMITS) {
    this.#limits = limits;
  }

  /**
   * Sends one batch or blob and waits for the 204: it is stored there.
   *
   * @throws FerryError with the context that `send` has. `echoed` is always true: what a receiver of
   *   ours has confirmed is on its disk, so nothing before it need ever be sent again. Codes: those
   *   of KeptSession.open and requestHeaders; CONNECTION_RESET, CLOSED_WITHOUT_ANSWER, HTTP_ANSWER,
   *   KEY_REJECTED, IDENTITY_REFUSED, STREAM_REFUSED, TIMEOUT_IDLE, TIMEOUT_APPLY, LEASE_LOST,
   *   ABORTED, PAYLOAD_MISMATCH, PAYLOAD_STALLED. An error of the payload's source passes through.
   */
  async send(request: SendRequest): Promise<SendResult> {
    const { endpoint, signal } = request;
    const attempt: H2Attempt = { afterT: false, sentBytes: 0, small: null, refused: false };
    const source = request.payload[Symbol.asyncIterator]();
    try {
      const headers = requestHeaders(request);
      for (let tries = 1; ; tries += 1) {
        const started = performance.now();
        const { kept, reused, leave } = await this.#enter(endpoint, signal);
        const connectMs = performance.now() - started;
        try {
          const timings = await new Exchange(kept, request, attempt).run(headers, source);
          return { confirmed: true, sessionReused: reused, connectMs, ...timings, applyMs: 0 };
        } catch (error) {
          const again = attempt.refused && attempt.small !== null && tries < TRIES_MAX;
          if (!again) throw error;
          attempt.refused = false;
        } finally {
          leave();
        }
      }
    } catch (error) {
      throw withContext(error, {
        destination: endpoint.name,
        address: addressOf(endpoint),
        afterT: attempt.afterT,
        echoed: true,
        sentBytes: attempt.sentBytes,
      });
    } finally {
      // Not awaited: a source that hangs must not hang us; it has been told.
      void source.return?.()?.then(undefined, () => undefined);
    }
  }

  /** Closes every connection; what is under way is cancelled. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#opening.values()].map((one) => one.catch(() => undefined)));
    await Promise.all([...this.#kept.values()].flat().map((kept) => kept.close()));
  }

  /** A place on a connection: of one that is there, or of one that is opened for all who wait. */
  async #enter(
    endpoint: Endpoint,
    signal: AbortSignal,
  ): Promise<{ kept: KeptSession; reused: boolean; leave: () => void }> {
    const id = sessionId(endpoint);
    for (let opened = 0; opened <= OPENINGS_MAX; opened += 1) {
      if (signal.aborted) throw aborted(signal);
      const kept = (this.#kept.get(id) ?? []).find((one) => one.isUsable && one.hasRoom);
      if (kept !== undefined) return { kept, reused: opened === 0, leave: kept.enter() };
      await unlessAborted(this.#opening.get(id) ?? this.#open(id, endpoint), signal);
    }
    throw wireError('STREAM_REFUSED', `${addressOf(endpoint)} allows no further request`);
  }

  #open(id: string, endpoint: Endpoint): Promise<KeptSession> {
    const opening = KeptSession.open(endpoint, this.#limits, this.#stop.signal)
      .then((kept) => {
        this.#keep(id, kept);
        return kept;
      })
      .finally(() => this.#opening.delete(id));
    this.#opening.set(id, opening);
    return opening;
  }

  #keep(id: string, kept: KeptSession): void {
    const all = this.#kept.get(id) ?? [];
    // Those that are used up close by themselves.
    for (const one of all) if (!one.isUsable) one.retire();
    this.#kept.set(id, [...all, kept]);
    void kept.gone.then(() => {
      const left = (this.#kept.get(id) ?? []).filter((one) => one !== kept);
      if (left.length === 0) this.#kept.delete(id);
      else this.#kept.set(id, left);
    });
  }
}

/** `work`, or the signal's reason if that comes first. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(aborted(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
