import type { TLSSocket } from 'node:tls';
import { asError, type FerryError, systemCode } from '../common/errors.js';
import { Deadline } from './deadline.js';
import { addressOf, type Endpoint } from './endpoint.js';
import { aborted, certificateWanted, payloadStalled, wireError } from './errors.js';
import { HTTP_ANSWER_MAX_BYTES } from './httpAnswer.js';
import { connectTls } from './tlsConnect.js';

/** Time for the peer to see our close_notify and to close, before the socket is destroyed. */
export const LINGER_MS = 1_000;

/**
 * A write is cut into pieces of this size, each of which counts as progress when it is gone. Larger:
 * a slow line looks idle. Smaller: more calls; 16 KiB halved the speed.
 */
const WRITE_SLICE_BYTES = 256 * 1024;

/** Sockets that said goodbye and wait for the peer's. */
const lingering = new Set<Promise<void>>();

/** Resolves when every connection that was ended is gone, at most LINGER_MS later. */
export async function connectionsSettled(): Promise<void> {
  while (lingering.size > 0) await Promise.all(lingering);
}

export type Interruption = { done: false };
export type During<T> = { done: true; value: T } | Interruption;
const INTERRUPTED: Interruption = { done: false };

/**
 * One TLS connection, with a deadline on every state and one way to end.
 *
 *     opening --secureConnect--> open --halfClose()--> halfClosed --peer's EOF--> over
 *        |                        |                        |
 *        +------- error, deadline, abort: `failure` is set, all waiters learn it
 *     close(), from anywhere: close_notify, LINGER_MS for the peer, destroy
 *
 * A client that vanishes without close_notify can hang a PicoLisp replica until somebody restarts
 * it, so nothing but close() ends a socket that has been open.
 */
export class Connection {
  readonly endpoint: Endpoint;
  readonly sessionReused: boolean;
  readonly #socket: TLSSocket;
  readonly #signal: AbortSignal;
  readonly #deadline: Deadline;
  readonly #onAbort: () => void;
  #received: Buffer = Buffer.alloc(0);
  #peerEnd: 'open' | 'before' | 'after' = 'open';
  #halfClosed = false;
  #failure: FerryError | null = null;
  #waiters: { wake: () => void; fail: (error: FerryError) => void }[] = [];
  #awaitingPayload = false;
  #closed = false;

  private constructor(endpoint: Endpoint, socket: TLSSocket, signal: AbortSignal) {
    this.endpoint = endpoint;
    this.sessionReused = socket.isSessionReused();
    this.#socket = socket;
    this.#signal = signal;
    this.#deadline = new Deadline((ms) => this.#fail(this.#idleError(ms)));
    this.#onAbort = () => this.#fail(aborted(signal));
    signal.addEventListener('abort', this.#onAbort, { once: true });
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error) => this.#onError(error));
    socket.on('close', () => this.#onEnd());
    this.#deadline.arm(endpoint.timeouts.idleMs);
  }

  /**
   * Connects and shakes hands.
   * @throws FerryError CONNECTION_REFUSED, HOST_UNKNOWN, HOST_UNREACHABLE, CERTIFICATE_INVALID,
   *   TLS_FAILED, TIMEOUT_CONNECT, or the reason of `signal`
   */
  static async open(endpoint: Endpoint, signal: AbortSignal): Promise<Connection> {
    // We decide when our side ends: the peer's EOF before that means something else.
    const socket = await connectTls(endpoint, signal, { allowHalfOpen: true });
    return new Connection(endpoint, socket, signal);
  }

  /** What the server has sent so far, up to HTTP_ANSWER_MAX_BYTES. */
  get received(): Buffer {
    return this.#received;
  }

  /** The server's end of file: not seen, seen before our half-close, or after it. */
  get peerEnd(): 'open' | 'before' | 'after' {
    return this.#peerEnd;
  }

  get #interrupted(): boolean {
    return this.#received.length > 0 || this.#peerEnd !== 'open';
  }

  /**
   * Writes all of `data`; resolves when it has left the process, so that the buffer is free again.
   * An early answer or end of file interrupts it.
   */
  write(data: Uint8Array): Promise<During<void>> {
    return this.during(
      new Promise<void>((resolve, reject) => {
        for (let from = 0; from < data.length; from += WRITE_SLICE_BYTES) {
          const slice = data.subarray(from, from + WRITE_SLICE_BYTES);
          const last = from + slice.length === data.length;
          this.#socket.write(slice, (error) => {
            if (error) return reject(this.#failure ?? this.#resetError(error));
            this.#deadline.touch();
            if (last) resolve();
          });
        }
      }),
    );
  }

  /** Waits for the payload's source under the idle deadline, with an error of its own. */
  async payload<T>(next: Promise<T>): Promise<During<T>> {
    this.#awaitingPayload = true;
    try {
      return await this.during(next);
    } finally {
      this.#awaitingPayload = false;
      this.#deadline.touch();
    }
  }

  /** `work`, unless the server says or ends something first. Rejects when the connection fails. */
  during<T>(work: Promise<T>): Promise<During<T>> {
    work.catch(() => undefined);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#interrupted) return Promise.resolve(INTERRUPTED);
    return new Promise((resolve, reject) => {
      const waiter = { wake: () => resolve(INTERRUPTED), fail: reject };
      this.#waiters.push(waiter);
      const settled = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
      };
      work.then(
        (value) => {
          settled();
          resolve({ done: true, value });
        },
        (error: unknown) => {
          settled();
          reject(asError(error));
        },
      );
    });
  }

  /**
   * Waits until `enough` holds of what was received or of the server's end, at most as long as the
   * deadline in force allows.
   */
  async until(enough: () => boolean): Promise<void> {
    while (!enough()) {
      if (this.#failure !== null) throw this.#failure;
      await new Promise<void>((wake, fail) => this.#waiters.push({ wake, fail }));
    }
  }

  /** Ends our side: close_notify and FIN. From here the apply deadline rules. */
  halfClose(applyMs: number): void {
    if (this.#failure !== null || this.#halfClosed) return;
    this.#halfClosed = true;
    this.#deadline.arm(applyMs);
    this.#socket.end();
  }

  /** The polite end, on every path: close_notify, a moment for the peer, then destroy. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.clear();
    this.#signal.removeEventListener('abort', this.#onAbort);
    const socket = this.#socket;
    if (socket.closed) return;
    const gone = new Promise<void>((resolve) => {
      const timer = setTimeout(() => socket.destroy(), LINGER_MS);
      socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });
    lingering.add(gone);
    void gone.then(() => lingering.delete(gone));
    socket.end();
  }

  #onData(chunk: Buffer): void {
    this.#deadline.touch();
    const room = HTTP_ANSWER_MAX_BYTES - this.#received.length;
    if (room > 0) this.#received = Buffer.concat([this.#received, chunk.subarray(0, room)]);
    this.#wake();
  }

  #onEnd(): void {
    // The close behind an error is no end of file.
    if (this.#failure !== null) return;
    if (this.#peerEnd === 'open') this.#peerEnd = this.#halfClosed ? 'after' : 'before';
    this.#wake();
  }

  #onError(error: Error): void {
    // An answer that has come is worth more than the reset behind it.
    if (this.#received.length > 0 && !this.#halfClosed) this.#onEnd();
    else this.#fail(this.#resetError(error));
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.wake();
  }

  #fail(error: FerryError): void {
    this.#failure ??= error;
    this.#deadline.clear();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.fail(this.#failure);
  }

  #resetError(error: Error): FerryError {
    const wanted = certificateWanted(error, this.endpoint);
    if (wanted !== null) return wanted;
    const code = systemCode(error);
    return wireError(
      'CONNECTION_RESET',
      `${addressOf(this.endpoint)} broke the connection${code === undefined ? '' : ` (${code})`}`,
      { cause: error },
    );
  }

  #idleError(ms: number): FerryError {
    const where = addressOf(this.endpoint);
    if (this.#halfClosed) {
      return wireError('TIMEOUT_APPLY', `${where} acked but did not close within ${ms} ms`);
    }
    if (this.#awaitingPayload) return payloadStalled(ms);
    return wireError('TIMEOUT_IDLE', `nothing moved to or from ${where} for ${ms} ms`);
  }
}
