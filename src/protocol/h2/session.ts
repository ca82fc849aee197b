import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { type FerryError, systemCode } from '../../common/errors.js';
import { LINGER_MS } from '../connection.js';
import { Deadline } from '../deadline.js';
import { addressOf, type Endpoint } from '../endpoint.js';
import { http2NotOffered, wireError } from '../errors.js';
import { connectTls } from '../tlsConnect.js';

/** How long a connection is kept, in milliseconds. */
export interface KeptLimits {
  /**
   * A connection without a request is closed after this, before a receiver (60 s) or something in
   * between does. Shorter: more handshakes. Longer: the next request may find it dead.
   */
  idleMs: number;
  /**
   * Then it takes no new request, and the next connection looks up the name and checks the
   * certificate anew. Longer: a changed address or a withdrawn certificate is noticed later.
   */
  ageMs: number;
}

export const KEPT_LIMITS: KeptLimits = { idleMs: 30_000, ageMs: 600_000 };

/** A ping goes out so many times within the idle limit while something is under way. */
const PINGS_PER_IDLE = 3;
/**
 * MB: what waits to be sent counts, at most 256 KiB of each request. With Node's 10, forty large
 * requests at once are enough for it to reset every answer that comes.
 */
const SESSION_MEMORY_MB = 4_000;
/** What RFC 9113 takes for enough when a peer names no limit. */
const STREAMS_UNTOLD = 100;

/**
 * One HTTP/2 connection that is kept for many requests, one after another and at once.
 *
 *     open --request--> busy --all over--> open --limits.idleMs--> closed
 *       +--limits.ageMs, GOAWAY--> takes no new request, closes with its last one
 *       +--broken, nothing heard for the idle limit--> `failure` is set, its requests end
 *
 * While requests are under way it is pinged: so a peer that is gone is found within the idle limit,
 * however long the receiver may take for an answer.
 */
export class KeptSession {
  /** Resolves when the socket is gone. */
  readonly gone: Promise<void>;
  readonly #endpoint: Endpoint;
  readonly #limits: KeptLimits;
  readonly #socket: TLSSocket;
  readonly #session: ClientHttp2Session;
  readonly #bornAt = performance.now();
  readonly #kept: Deadline;
  readonly #life: Deadline;
  #pings: NodeJS.Timeout | undefined;
  #requests = 0;
  #retired = false;
  #lingering = false;
  #failure: FerryError | null = null;

  private constructor(endpoint: Endpoint, limits: KeptLimits, socket: TLSSocket) {
    this.#endpoint = endpoint;
    this.#limits = limits;
    this.#socket = socket;
    this.#kept = new Deadline(() => this.retire());
    this.#life = new Deadline((ms) => {
      const where = addressOf(endpoint);
      this.#fail(wireError('TIMEOUT_IDLE', `nothing was heard of ${where} for ${ms} ms`));
    });
    this.#session = connect(`https://${addressOf(endpoint)}`, {
      createConnection: () => socket,
      settings: { enablePush: false },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    this.#session.on('error', (error) => this.#fail(broke(endpoint, error)));
    this.#session.on('goaway', () => this.retire());
    socket.on('error', () => undefined);
    this.gone = new Promise((resolve) => {
      socket.once('close', () => {
        this.#retired = true;
        this.#clear();
        resolve();
      });
    });
  }

  /**
   * Connects; resolves when the far side has begun to speak HTTP/2. The certificate is checked by
   * then, and no key has been sent.
   *
   * @throws FerryError of `connectTls`, HTTP2_NOT_OFFERED, CONNECTION_RESET
   */
  static async open(
    endpoint: Endpoint,
    limits: KeptLimits,
    signal: AbortSignal,
  ): Promise<KeptSession> {
    const deadline = AbortSignal.timeout(endpoint.timeouts.connectMs);
    const socket = await connectTls(endpoint, signal, { ALPNProtocols: ['h2'] });
    if (socket.alpnProtocol !== 'h2') {
      socket.on('error', () => undefined);
      socket.destroy();
      throw http2NotOffered(endpoint);
    }
    const kept = new KeptSession(endpoint, limits, socket);
    await kept.#untilSettings(AbortSignal.any([deadline, signal]));
    kept.#kept.arm(limits.idleMs);
    return kept;
  }

  /** Why it is over, when that was an accident. */
  get failure(): FerryError | null {
    return this.#failure;
  }

  /** False: it takes no new request, now or later. */
  get isUsable(): boolean {
    if (this.#retired || this.#session.closed || this.#session.destroyed) return false;
    return performance.now() - this.#bornAt < this.#limits.ageMs;
  }

  /** The far side allows one more request at this moment. */
  get hasRoom(): boolean {
    const max = this.#session.remoteSettings.maxConcurrentStreams ?? STREAMS_UNTOLD;
    return this.#requests < max;
  }

  /** Takes a place for a request; call the result when it is over. */
  enter(): () => void {
    this.#requests += 1;
    if (this.#requests === 1) {
      this.#kept.clear();
      this.#life.arm(this.#endpoint.timeouts.idleMs);
      this.#schedulePing();
    }
    return () => {
      this.#requests -= 1;
      if (this.#requests > 0) return;
      this.#life.clear();
      this.#endPings();
      if (this.isUsable) this.#kept.arm(this.#limits.idleMs);
      else this.retire();
    };
  }

  /** Begins a request. @throws Error of Node's when the session takes none any more */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    return this.#session.request(headers);
  }

  /** The far side took or said something. */
  heard(): void {
    this.#life.touch();
  }

  /** No new requests; it closes with its last one. */
  retire(): void {
    this.#retired = true;
    this.#kept.clear();
    if (this.#requests > 0) return;
    this.#session.close();
    this.#linger();
  }

  /** Ends it now, politely: requests that are under way are cancelled. */
  close(): Promise<void> {
    this.retire();
    if (this.#requests > 0) this.#destroy();
    return this.gone;
  }

  #untilSettings(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const where = addressOf(this.#endpoint);
      const done = (error: FerryError | null) => {
        this.#session.off('remoteSettings', onSettings);
        this.#session.off('close', onClose);
        signal.removeEventListener('abort', onAbort);
        if (error === null) return resolve();
        this.#destroy();
        reject(error);
      };
      const onSettings = () => done(null);
      const onClose = () => done(this.#failure ?? broke(this.#endpoint));
      const onAbort = () =>
        done(wireError('TIMEOUT_CONNECT', `${where} shook hands and then said nothing`));
      this.#session.once('remoteSettings', onSettings);
      this.#session.once('close', onClose);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #schedulePing(): void {
    const pause = this.#endpoint.timeouts.idleMs / PINGS_PER_IDLE;
    const timer = setTimeout(() => {
      if (this.#session.destroyed) return;
      this.#session.ping((error) => {
        // Requests may have ended and others begun since: those have a round of their own.
        if (error !== null || this.#pings !== timer) return;
        this.heard();
        this.#schedulePing();
      });
    }, pause);
    this.#pings = timer;
  }

  #fail(failure: FerryError): void {
    this.#failure ??= failure;
    this.#destroy();
  }

  #destroy(): void {
    this.#retired = true;
    this.#session.destroy();
    this.#linger();
  }

  /** close_notify is on its way out: a moment for the peer's. */
  #linger(): void {
    this.#clear();
    const socket = this.#socket;
    if (socket.closed || this.#lingering) return;
    this.#lingering = true;
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => clearTimeout(timer));
  }

  #endPings(): void {
    clearTimeout(this.#pings);
    this.#pings = undefined;
  }

  #clear(): void {
    this.#kept.clear();
    this.#life.clear();
    this.#endPings();
  }
}

function broke(endpoint: Endpoint, cause?: Error): FerryError {
  const code = systemCode(cause);
  return wireError(
    'CONNECTION_RESET',
    `${addressOf(endpoint)} broke the connection${code === undefined ? '' : ` (${code})`}`,
    { cause, hint: 'see the receiver’s log, and what stands between here and there' },
  );
}
