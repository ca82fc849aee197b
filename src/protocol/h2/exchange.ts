import { type ClientHttp2Stream, constants, type OutgoingHttpHeaders } from 'node:http2';
import { asError, type FerryError } from '../../common/errors.js';
import type { During } from '../connection.js';
import { Deadline } from '../deadline.js';
import { addressOf } from '../endpoint.js';
import { aborted, leaseLost, payloadMismatch, payloadStalled, wireError } from '../errors.js';
import { HTTP_ANSWER_MAX_BYTES, parseProblem, statusError } from '../httpAnswer.js';
import { gather } from '../payload.js';
import { COALESCE_MAX_BYTES, type SendRequest } from '../send.js';
import type { KeptSession } from './session.js';

/**
 * So much of a large payload is held back until the lease has been looked at. Node's client, when
 * a stream is cancelled, first ends its body and only then resets it: a receiver that had every
 * byte would commit. Without the last one it cannot.
 */
const HELD_BACK_BYTES = 1;

/**
 * So much of a request waits inside the process for its turn on the connection; each piece counts
 * as progress when it is gone.
 */
const WRITE_SLICE_BYTES = 256 * 1024;

const INTERRUPTED = { done: false } as const;

/** What an attempt has come to; kept over a second try. */
export interface H2Attempt {
  /** The end of the body was given to the connection: it may be stored. */
  afterT: boolean;
  sentBytes: number;
  /** A small payload, as it was read from its source. */
  small: Buffer | null;
  /** The far side says that it looked at nothing of it: it may be sent again at once. */
  refused: boolean;
}

export interface H2Timings {
  sendMs: number;
  answerMs: number;
}

/**
 * One request over a kept connection.
 *
 *     small: payload read -> mayConfirm? -> headers and body and end, at once -> 204
 *     large: headers -> body but its last byte -> mayConfirm? -> last byte and end -> 204
 *            answer, reset, deadline, abort, anywhere: the stream is cancelled
 */
export class Exchange {
  readonly #kept: KeptSession;
  readonly #request: SendRequest;
  readonly #attempt: H2Attempt;
  readonly #deadline: Deadline;
  readonly #onAbort: () => void;
  #stream: ClientHttp2Stream | null = null;
  #failure: FerryError | null = null;
  #status: number | null = null;
  #answer: Buffer = Buffer.alloc(0);
  /** The stream is over: nothing more comes. */
  #over = false;
  #ended = false;
  #awaitingPayload = false;
  #wake: () => void = () => undefined;

  constructor(kept: KeptSession, request: SendRequest, attempt: H2Attempt) {
    this.#kept = kept;
    this.#request = request;
    this.#attempt = attempt;
    this.#deadline = new Deadline((ms) => this.#fail(this.#lateError(ms)));
    this.#onAbort = () => this.#fail(aborted(request.signal));
  }

  /** @throws FerryError as `send` does */
  async run(headers: OutgoingHttpHeaders, source: AsyncIterator<Uint8Array>): Promise<H2Timings> {
    const { signal, endpoint, bytes } = this.#request;
    if (signal.aborted) throw aborted(signal);
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#deadline.arm(endpoint.timeouts.idleMs);
    try {
      const started = performance.now();
      const last =
        bytes <= COALESCE_MAX_BYTES
          ? await this.#gather(source)
          : await this.#sendPieces(headers, source);
      const sent = performance.now();
      if (this.#failure !== null) throw this.#failure;
      if (!this.#interrupted) this.#commit(headers, last);
      this.#request.onProgress?.(this.#attempt.sentBytes);
      await this.#until(() => this.#over || this.#status === 204);
      if (this.#status !== 204) throw this.#refusal();
      if (!this.#ended) {
        const where = addressOf(endpoint);
        throw wireError('FALSE_ACK', `${where} confirmed before it had everything`);
      }
      return { sendMs: sent - started, answerMs: performance.now() - sent };
    } finally {
      this.#deadline.clear();
      signal.removeEventListener('abort', this.#onAbort);
      // One that is over on both sides needs no reset; a thousand of those look like an attack
      // (CVE-2023-44487), and a receiver would end the connection.
      if (!this.#ended || !this.#interrupted) this.#cancel();
    }
  }

  get #interrupted(): boolean {
    return this.#status !== null || this.#over;
  }

  /** Nothing but the write itself comes after the look at the lease. */
  #commit(headers: OutgoingHttpHeaders, last: Buffer): void {
    const { mayConfirm, endpoint, bytes } = this.#request;
    if (!mayConfirm()) throw leaseLost();
    this.#attempt.afterT = true;
    this.#attempt.sentBytes = bytes;
    this.#ended = true;
    const stream = this.#stream ?? this.#begin(headers);
    this.#deadline.arm(endpoint.timeouts.applyMs);
    stream.end(last, () => this.#kept.heard());
  }

  #begin(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    let stream: ClientHttp2Stream;
    try {
      stream = this.#kept.request(headers);
    } catch (cause) {
      // The connection was given up in this very moment; nothing was sent.
      this.#attempt.afterT = false;
      this.#attempt.refused = true;
      throw this.#kept.failure ?? this.#brokenError(cause);
    }
    this.#stream = stream;
    stream.on('response', ({ ':status': status }) => {
      this.#kept.heard();
      this.#status = status ?? 0;
      this.#wake();
    });
    stream.on('data', (chunk: Buffer) => {
      const room = HTTP_ANSWER_MAX_BYTES - this.#answer.length;
      if (room > 0) this.#answer = Buffer.concat([this.#answer, chunk.subarray(0, room)]);
      else this.#cancel();
    });
    stream.once('end', () => {
      // A whole answer, though our own side may still be open. A reset says "end" as well.
      if (this.#status === null) return;
      this.#over = true;
      this.#wake();
    });
    stream.on('error', () => undefined);
    stream.once('close', () => {
      this.#over = true;
      this.#wake();
    });
    return stream;
  }

  async #gather(source: AsyncIterator<Uint8Array>): Promise<Buffer> {
    const { bytes } = this.#request;
    const waiter = { payload: <T>(next: Promise<T>) => this.#payload(next) };
    this.#attempt.small ??= await gather(waiter, source, bytes);
    return this.#attempt.small ?? Buffer.alloc(0);
  }

  /** Writes a large payload as it comes, but for what it returns. */
  async #sendPieces(
    headers: OutgoingHttpHeaders,
    source: AsyncIterator<Uint8Array>,
  ): Promise<Buffer> {
    const { bytes, onProgress } = this.#request;
    const attempt = this.#attempt;
    const stream = this.#begin(headers);
    let held = Buffer.alloc(0);
    for (;;) {
      const step = await this.#payload(source.next());
      if (!step.done) return held;
      if (step.value.done) break;
      let piece = step.value.value;
      const left = bytes - attempt.sentBytes - held.length;
      if (piece.length > left) throw payloadMismatch(bytes, 'longer');
      if (piece.length === left && left > 0) {
        held = Buffer.from(piece.subarray(-HELD_BACK_BYTES));
        piece = piece.subarray(0, -HELD_BACK_BYTES);
      }
      for (let from = 0; from < piece.length; from += WRITE_SLICE_BYTES) {
        const slice = piece.subarray(from, from + WRITE_SLICE_BYTES);
        attempt.sentBytes += slice.length;
        if (!(await this.#write(stream, slice)).done) return held;
      }
      onProgress?.(attempt.sentBytes);
    }
    if (held.length === 0) {
      throw payloadMismatch(bytes, `only ${attempt.sentBytes} bytes long`);
    }
    return held;
  }

  /** Resolves when all of it has left the process, so that the buffer is free again. */
  #write(stream: ClientHttp2Stream, data: Uint8Array): Promise<During<void>> {
    return this.#during(
      new Promise<void>((resolve, reject) => {
        stream.write(data, (error) => {
          if (error) return reject(this.#kept.failure ?? this.#brokenError(error));
          this.#deadline.touch();
          this.#kept.heard();
          resolve();
        });
      }),
    );
  }

  async #payload<T>(next: Promise<T>): Promise<During<T>> {
    this.#awaitingPayload = true;
    try {
      return await this.#during(next);
    } finally {
      this.#awaitingPayload = false;
      this.#deadline.touch();
    }
  }

  /** `work`, unless the far side answers or ends first. Rejects when the attempt fails. */
  #during<T>(work: Promise<T>): Promise<During<T>> {
    work.catch(() => undefined);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#interrupted) return Promise.resolve(INTERRUPTED);
    return new Promise((resolve, reject) => {
      this.#wake = () => {
        if (this.#failure !== null) reject(this.#failure);
        else resolve(INTERRUPTED);
      };
      work.then(
        (value) => resolve({ done: true, value }),
        // A write that failed because the stream is over: the answer or the end says why.
        (error: unknown) => {
          if (this.#stream?.destroyed === true && !this.#over) return;
          reject(asError(error));
        },
      );
    });
  }

  async #until(enough: () => boolean): Promise<void> {
    while (!enough()) {
      if (this.#failure !== null) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #fail(error: FerryError): void {
    this.#failure ??= error;
    this.#cancel();
    this.#wake();
  }

  #cancel(): void {
    const stream = this.#stream;
    if (stream === null || stream.closed || stream.destroyed) return;
    stream.close(constants.NGHTTP2_CANCEL);
  }

  /** The stream is over, or has another answer than 204. */
  #refusal(): FerryError {
    const where = addressOf(this.#request.endpoint);
    const code = this.#stream?.rstCode ?? 0;
    if (code === constants.NGHTTP2_REFUSED_STREAM) {
      // By RFC 9113 nothing of it was processed.
      this.#attempt.afterT = false;
      this.#attempt.refused = true;
      return wireError('STREAM_REFUSED', `${where} takes no further request now`);
    }
    if (this.#status === null) {
      if (this.#kept.failure !== null) return this.#kept.failure;
      if (code === constants.NGHTTP2_NO_ERROR) {
        return wireError('CLOSED_WITHOUT_ANSWER', `${where} ended the request without an answer`, {
          hint: 'see the receiver’s log',
        });
      }
      return this.#brokenError(null);
    }
    const problem = parseProblem(this.#answer.toString('utf8'));
    if (this.#status === 401 || problem['reason'] === 'wrong-key') {
      return wireError('KEY_REJECTED', `${where} does not accept the key`);
    }
    return statusError(this.#status, '', problem);
  }

  #brokenError(cause: unknown): FerryError {
    const where = addressOf(this.#request.endpoint);
    const code = this.#stream?.rstCode ?? 0;
    const why = code === 0 ? '' : ` (HTTP/2 error ${code})`;
    return wireError('CONNECTION_RESET', `${where} broke the request off${why}`, {
      cause,
      hint: 'see the receiver’s log, and what stands between here and there',
    });
  }

  #lateError(ms: number): FerryError {
    const where = addressOf(this.#request.endpoint);
    if (this.#ended) return wireError('TIMEOUT_APPLY', `${where} did not answer within ${ms} ms`);
    if (this.#awaitingPayload) return payloadStalled(ms);
    return wireError('TIMEOUT_IDLE', `${where} took nothing for ${ms} ms`);
  }
}
