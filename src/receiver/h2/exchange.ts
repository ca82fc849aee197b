import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Logger } from 'pino';
import { crashPoint } from '../../common/crashPoints.js';
import type { ReceiverMeter } from '../../common/meter.js';
import type { ReceiverConfig } from '../../config/model.js';
import { Deadline } from '../../protocol/deadline.js';
import { ANSWERS, type Answer, problemOf, storageFailed } from '../answers.js';
import type { Apps } from '../apps.js';
import type { BodyDeadline } from '../bodyDeadline.js';
import { type Delivery, openDelivery } from '../delivery.js';
import { Departure } from '../departure.js';
import type { OpenConnection } from '../openConnections.js';
import { readRequest } from './request.js';

export interface H2Parts {
  apps: Apps;
  limits: ReceiverConfig['limits'];
  bodyDeadlineMs: BodyDeadline;
  meter: ReceiverMeter;
  log: Logger;
}

/**
 * One stream of an HTTP/2 connection: one request, one answer.
 *
 *     headers -> receiving -> END_STREAM -> committing -> 204
 *        |           |            |             +-- out of place, disk --> refused
 *        |           |            +-- not all that was announced --> dropped
 *        +-----------+-- limit, deadline, no key --> refused (problem+json, RST_STREAM NO_ERROR)
 *                    +-- reset, connection lost --> dropped
 *
 * Nothing is committed before END_STREAM: until then the sender may still find that it has lost the
 * right to send. Node also says "end" of a stream that was reset, and its client, cancelling, may
 * send an END_STREAM of its own before the reset; so what counts is that the stream is still open
 * and every announced byte is there.
 */
export class Exchange {
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #parts: H2Parts;
  readonly #connection: OpenConnection;
  readonly #idle: Deadline;
  /** The client is gone, or has got its answer. */
  readonly #left = new Departure();
  #delivery: Delivery | null = null;
  #app = '';
  /** An answer was given: nothing that still comes matters. */
  #answered = false;

  /** The request was refused because of its key, or because nobody here has that name. */
  isStranger = false;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    parts: H2Parts,
    connection: OpenConnection,
  ) {
    this.#stream = stream;
    this.#headers = headers;
    this.#parts = parts;
    this.#connection = connection;
    this.#idle = new Deadline((ms) => {
      // A limit of ours holds the client back: that is not its idleness.
      if (this.#delivery?.isPaced === true) this.#idle.arm(ms);
      else void this.#refuse(ANSWERS.slow);
    });
  }

  /** Serves until the answer is given or the stream is gone. Never throws. */
  async serve(): Promise<void> {
    this.#stream.on('error', (error) => {
      this.#parts.log.debug({ err: error, app: this.#app }, 'stream broke');
    });
    this.#stream.once('close', () => this.#left.leave());
    try {
      const refused = await this.#request();
      if (refused !== null) await this.#refuse(refused);
    } catch (error) {
      this.#parts.log.debug({ err: error, app: this.#app }, 'request lost');
    } finally {
      this.#idle.clear();
      await this.#delivery?.discard();
    }
  }

  /** @returns how it is refused; null: answered, or nobody is there to be answered */
  async #request(): Promise<Answer | null> {
    const { apps, meter, log } = this.#parts;
    const request = readRequest(this.#headers, this.#stream.endAfterHeaders, (app) =>
      apps.keysOf(app),
    );
    if ('refused' in request) {
      this.isStranger = ['wrong-key', 'no-key', 'unknown-app'].includes(request.refused);
      return ANSWERS[request.refused];
    }
    const { head, body } = request;
    this.#connection.prove();
    this.#app = head.app;
    try {
      const opened = await openDelivery(this.#parts, head, body, this.#left);
      if ('refused' in opened) return opened.refused;
      this.#delivery = opened.delivery;
      const refused = await this.#receive(opened.delivery, body.bytes);
      if (refused !== null) return refused === 'lost' ? null : refused;
      const notTaken = await opened.delivery.commit();
      opened.delivery.count(meter, this.#app);
      if (notTaken !== null) return notTaken;
    } catch (error) {
      const answer = storageFailed(error);
      if (answer.reason === ANSWERS.storage.reason) {
        log.error({ err: error, app: this.#app }, 'could not store what was received');
      }
      return answer;
    }
    log.debug({ app: this.#app, ...this.#delivery.description }, 'accepted');
    this.#confirm();
    return null;
  }

  /** @returns null when everything announced has come, and its end */
  async #receive(delivery: Delivery, bytes: number): Promise<Answer | 'lost' | null> {
    const stream = this.#stream;
    this.#idle.arm(this.#parts.limits.idleMs);
    const endsAt = performance.now() + this.#parts.bodyDeadlineMs(bytes);
    if (this.#headers.expect === '100-continue' && !isGone(stream)) {
      stream.additionalHeaders({ ':status': 100 });
    }
    let received = 0;
    try {
      for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
        if (this.#answered) return 'lost';
        // Bytes that come too seldom have the idle limit.
        if (performance.now() > endsAt) return ANSWERS.slow;
        this.#idle.touch();
        received += (chunk as Buffer).length;
        const refused = await delivery.write(chunk as Buffer);
        if (refused !== null) return refused;
      }
    } catch (error) {
      // A stream that is gone; else our disk.
      if (!isGone(stream) && !this.#answered) throw error;
    } finally {
      this.#idle.clear();
    }
    const whole = !isGone(stream) && !this.#answered && received === bytes;
    return whole ? null : 'lost';
  }

  #confirm(): void {
    const stream = this.#stream;
    if (isGone(stream)) return;
    stream.once('close', () => setImmediate(() => crashPoint('receiver.answered')));
    stream.respond({ ':status': 204 }, { endStream: true });
  }

  async #refuse(answer: Answer): Promise<void> {
    if (this.#answered) return;
    this.#answered = true;
    this.#left.leave();
    this.#parts.meter.refused(answer.reason);
    // What the client learns is true by then: nothing of it is left here.
    await this.#delivery?.discard();
    const { reason } = answer;
    this.#parts.log.warn({ app: this.#app, peer: this.#connection.peer, reason }, 'refused');
    const stream = this.#stream;
    if (isGone(stream)) return;
    const json = problemOf(answer, answer.status);
    stream.respond({
      ':status': answer.status,
      'content-type': 'application/problem+json',
      'content-length': Buffer.byteLength(json),
      ...(answer.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    });
    // The rest of the request is not wanted, and the client need not send it.
    stream.once('finish', () => {
      if (!isGone(stream)) stream.close(constants.NGHTTP2_NO_ERROR);
    });
    stream.end(json);
    stream.resume();
  }
}

/** Reset, or its connection is lost. A stream whose client has ended its side is not gone. */
function isGone(stream: ServerHttp2Stream): boolean {
  return stream.closed || stream.aborted || stream.destroyed;
}
