import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { BlobIdentity, WireIdentity } from '../common/identity.js';
import { Connection } from './connection.js';
import { type Body, COMMIT_BYTE, encodeHead, endsWithEof } from './encode.js';
import { addressOf, type Endpoint } from './endpoint.js';
import { aborted, leaseLost, payloadMismatch, wireError, withContext } from './errors.js';
import { HTTP_ANSWER_MAX_BYTES, httpAnswerError, isCompleteAnswer } from './httpAnswer.js';
import { gather } from './payload.js';

/**
 * Payloads up to this size leave in one write with everything before and after them: one TLS
 * record run, no small packets. Copying 64 KiB costs less than a second trip through the socket.
 */
export const COALESCE_MAX_BYTES = 64 * 1024;

/**
 * A false ack is `T` and the server's EOF right behind it, both in the same breath of that server.
 * We half-close only after this pause, so that such an EOF is seen to come first. Too short: the
 * EOF is taken for the end of the request and an unapplied batch for applied. Too long: latency of
 * every batch, and a place among the destination's connections. An honest peer never closes before
 * our half-close: it reads on until then.
 */
const FALSE_ACK_PAUSE_MS = 1;
/** A pause that ended later than this ended late. */
const FALSE_ACK_LATE_MS = 3;
const FALSE_ACK_LATE_MAX_MS = 20;

const T = 0x54;
const H = 0x48;

export interface SendRequest {
  endpoint: Endpoint;
  /**
   * Opened to that endpoint, with the same signal, while the right to send was still asked for: this
   * send uses it, and ends it. Default: opens one.
   */
  connection?: Promise<Connection> | undefined;
  body: Body;
  /** Length of the payload in bytes. */
  bytes: number;
  /**
   * Yields exactly `bytes` bytes. A buffer belongs to the source again at the following `next()`;
   * pieces of 256 KiB to 1 MiB are fastest, and a source that reads ahead keeps disk and socket
   * busy at once. It is closed (`return()`) on every path.
   */
  payload: AsyncIterable<Uint8Array>;
  /** Sent in headers that only receivers of ours read; PicoLisp ignores them. */
  identity?: WireIdentity | BlobIdentity;
  /** Looked at right before the commit byte; false: the connection ends without it, LEASE_LOST. */
  mayConfirm: () => boolean;
  /** Ends the attempt politely. A FerryError as its reason is what `send` rejects with. */
  signal: AbortSignal;
  /** Called with the payload bytes handed to the socket so far. */
  onProgress?: (sentBytes: number) => void;
}

/** An attempt that was confirmed as the endpoint's `confirm` asks. Times in milliseconds. */
export interface SendResult {
  confirmed: true;
  sessionReused: boolean;
  /** What was still to be waited for, where the connection was opened before. */
  connectMs: number;
  /** From the first byte of the request to the last before the commit byte. */
  sendMs: number;
  /** From the commit byte to the server's. 0 for a blob in the `eof` dialect. */
  answerMs: number;
  /** From the half-close to the server's EOF. 0 with `confirm: acked`. */
  applyMs: number;
}

interface Attempt {
  /** The commit byte (`eof` blobs: the half-close) was given to the socket: it may be applied. */
  afterT: boolean;
  /** The server's `T` came: it read this request, so it had ended the one before. */
  echoed: boolean;
  sentBytes: number;
}

/**
 * Sends one batch or blob over a connection of its own and waits for the confirmation.
 *
 *     open -> head key announcement data -> mayConfirm? -> T -> `T` -> half-close -> EOF
 *
 * @throws FerryError with context {destination, address, afterT, echoed, sentBytes}: `afterT: false` proves
 *   that nothing was committed, `true` that it may have been. Codes: those of Connection.open and
 *   encodeHead; CONNECTION_RESET, CLOSED_WITHOUT_ANSWER, HTTP_ANSWER (`status`), IDENTITY_REFUSED
 *   (`reason`, `last`), PROTOCOL_ERROR, TIMEOUT_IDLE, TIMEOUT_APPLY, FALSE_ACK, LEASE_LOST, ABORTED,
 *   PAYLOAD_MISMATCH, PAYLOAD_STALLED. An error of the payload's source passes through.
 *   In the `eof` dialect a server takes any end for the blob's end: a failed attempt may have left
 *   a shortened blob there until the next one replaces it. A receiver of ours knows the length.
 */
export async function send(request: SendRequest): Promise<SendResult> {
  const { endpoint } = request;
  const attempt: Attempt = { afterT: false, echoed: false, sentBytes: 0 };
  const source = request.payload[Symbol.asyncIterator]();
  let connection: Connection | null = null;
  try {
    const head = encodeHead(endpoint, request.body, request.bytes, request.identity);
    const started = performance.now();
    connection = await (request.connection ?? Connection.open(endpoint, request.signal));
    const opened = performance.now();
    const result = await exchange(request, connection, source, head, attempt);
    return {
      confirmed: true,
      sessionReused: connection.sessionReused,
      connectMs: opened - started,
      ...result,
    };
  } catch (error) {
    throw withContext(error, {
      destination: endpoint.name,
      address: addressOf(endpoint),
      afterT: attempt.afterT,
      echoed: attempt.echoed,
      sentBytes: attempt.sentBytes,
    });
  } finally {
    if (connection !== null) connection.close();
    else void request.connection?.then((opened) => opened.close()).catch(() => undefined);
    // Not awaited: a source that hangs must not hang us; it has been told.
    void source.return?.()?.then(undefined, () => undefined);
  }
}

type Timings = Pick<SendResult, 'sendMs' | 'answerMs' | 'applyMs'>;

async function exchange(
  request: SendRequest,
  connection: Connection,
  source: AsyncIterator<Uint8Array>,
  head: Buffer,
  attempt: Attempt,
): Promise<Timings> {
  const started = performance.now();
  const noCommit = endsWithEof(request.body, request.endpoint.dialect);
  const small = request.bytes <= COALESCE_MAX_BYTES;
  const pending = small
    ? await withHead(request, connection, source, head)
    : await stream(request, connection, source, head, attempt);
  const sent = performance.now();

  if (connection.received.length > 0 || connection.peerEnd !== 'open') {
    throw await refusal(connection, attempt);
  }
  const last = noCommit ? pending : Buffer.concat([pending, COMMIT_BYTE]);
  if (request.signal.aborted) throw aborted(request.signal);
  // Nothing but the write itself comes after this look: a process that is paused in between, for
  // longer than its lease, sends a commit byte that it has no right to any more.
  if (!request.mayConfirm()) throw leaseLost();
  const written = last.length > 0 ? connection.write(last) : null;
  attempt.afterT = true;
  attempt.sentBytes = request.bytes;
  if (written !== null) {
    const wrote = await written;
    // An answer that came while the write was reported is the answer, except with no T to answer.
    if (!wrote.done && noCommit) throw await refusal(connection, attempt);
  }
  request.onProgress?.(request.bytes);
  if (noCommit) return { sendMs: sent - started, answerMs: 0, ...(await applied(connection)) };

  await connection.until(() => connection.received.length > 0 || connection.peerEnd !== 'open');
  if (connection.received[0] !== T) throw await refusal(connection, attempt);
  attempt.echoed = true;
  const answered = performance.now();
  const timings = { sendMs: sent - started, answerMs: answered - sent };
  if (request.endpoint.confirm === 'acked') return { ...timings, applyMs: 0 };
  const over = request.endpoint.dialect === 'eof' ? ended(connection) : applied(connection);
  return { ...timings, ...(await over) };
}

/** A small payload with its head, in one buffer; nothing is written yet. */
async function withHead(
  request: SendRequest,
  connection: Connection,
  source: AsyncIterator<Uint8Array>,
  head: Buffer,
): Promise<Buffer> {
  const payload = await gather(connection, source, request.bytes);
  return payload === null ? Buffer.alloc(0) : Buffer.concat([head, payload]);
}

/** Writes a large payload as it comes; returns what is left to go out with the commit byte: nothing. */
async function stream(
  request: SendRequest,
  connection: Connection,
  source: AsyncIterator<Uint8Array>,
  head: Buffer,
  attempt: Attempt,
): Promise<Buffer> {
  const nothing = Buffer.alloc(0);
  let ahead: Buffer | null = head;
  for (;;) {
    const step = await connection.payload(source.next());
    if (!step.done) return nothing;
    if (step.value.done) break;
    let piece = step.value.value;
    if (attempt.sentBytes + piece.length > request.bytes) {
      throw payloadMismatch(request.bytes, 'longer');
    }
    attempt.sentBytes += piece.length;
    if (ahead !== null && piece.length > 0) {
      const first = Buffer.concat([ahead, piece.subarray(0, COALESCE_MAX_BYTES)]);
      ahead = null;
      if (!(await connection.write(first)).done) return nothing;
      piece = piece.subarray(COALESCE_MAX_BYTES);
    }
    if (piece.length > 0 && !(await connection.write(piece)).done) return nothing;
    request.onProgress?.(attempt.sentBytes);
  }
  if (attempt.sentBytes < request.bytes) {
    throw payloadMismatch(request.bytes, `only ${attempt.sentBytes} bytes long`);
  }
  return nothing;
}

/**
 * By the clock: a timer counts from the beginning of the event loop's turn, in whole milliseconds, and
 * may end at once. On a machine that is short of processors both sides take longer: a pause that
 * ended late is followed by one as long as that. And who comes back late comes to the timer first:
 * what the socket has by then counts as well.
 */
async function falseAckPause(): Promise<void> {
  const from = performance.now();
  let tookMs = 0;
  while (tookMs < FALSE_ACK_PAUSE_MS) {
    await sleep(FALSE_ACK_PAUSE_MS);
    tookMs = performance.now() - from;
  }
  if (tookMs > FALSE_ACK_LATE_MS) await sleep(Math.min(tookMs, FALSE_ACK_LATE_MAX_MS));
  await nextTurn();
}

/** Half-closes and waits for the server's EOF: the request is over there. */
async function applied(connection: Connection): Promise<{ applyMs: number }> {
  const answerBytes = Math.min(1, connection.received.length);
  if (answerBytes > 0) await falseAckPause();
  throwIfFalseAck(connection, answerBytes);
  const from = performance.now();
  connection.halfClose(connection.endpoint.timeouts.applyMs);
  await connection.until(
    () => connection.peerEnd !== 'open' || connection.received.length > answerBytes,
  );
  if (connection.received.length > answerBytes) {
    throw answerError(connection, answerBytes);
  }
  throwIfFalseAck(connection, answerBytes);
  return { applyMs: performance.now() - from };
}

/**
 * Half-closes and waits for the end of a server of 2015. It applies right behind its `T` and closes
 * by itself, so its end may well come before our half-close, and means the same then: the request
 * is over, applied or not. That includes a reset, which Node does not tell from an end here.
 */
async function ended(connection: Connection): Promise<{ applyMs: number }> {
  const from = performance.now();
  connection.halfClose(connection.endpoint.timeouts.applyMs);
  await connection.until(() => connection.peerEnd !== 'open' || connection.received.length > 1);
  if (connection.received.length > 1) throw answerError(connection, 1);
  return { applyMs: performance.now() - from };
}

function throwIfFalseAck(connection: Connection, answerBytes: number): void {
  if (connection.peerEnd === 'before') {
    const where = addressOf(connection.endpoint);
    throw wireError('FALSE_ACK', `${where} closed before we did: it cannot have applied`);
  }
  if (connection.received.length > answerBytes) throw answerError(connection, answerBytes);
}

/** The error for an answer that is no `T`, an early answer, or an early end. */
async function refusal(connection: Connection, attempt: Attempt): Promise<Error> {
  const where = addressOf(connection.endpoint);
  const first = connection.received[0];
  if (first === undefined) {
    return wireError('CLOSED_WITHOUT_ANSWER', `${where} closed without an answer`);
  }
  if (first === T && !attempt.afterT) {
    return wireError('FALSE_ACK', `${where} acked before it had everything`);
  }
  await connection.until(() => connection.peerEnd !== 'open' || answerIsWhole(connection));
  return answerError(connection, 0);
}

function answerIsWhole(connection: Connection): boolean {
  const { received } = connection;
  if (received.length >= HTTP_ANSWER_MAX_BYTES || received[0] !== H) return true;
  return isCompleteAnswer(received);
}

function answerError(connection: Connection, from: number): Error {
  const answer = connection.received.subarray(from);
  if (answer[0] === H) return httpAnswerError(answer);
  return wireError(
    'PROTOCOL_ERROR',
    `${addressOf(connection.endpoint)} sent something that is no answer`,
  );
}
