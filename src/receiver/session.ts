import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { crashPoint } from '../common/crashPoints.js';
import type { ReceiverMeter } from '../common/meter.js';
import type { ReceiverConfig } from '../config/model.js';
import { Deadline } from '../protocol/deadline.js';
import { ANSWERS, type Answer, oldWireAnswer, storageFailed } from './answers.js';
import type { Apps } from './apps.js';
import type { BodyDeadline } from './bodyDeadline.js';
import { type Delivery, openDelivery } from './delivery.js';
import { Departure } from './departure.js';
import type { OpenConnection } from './openConnections.js';
import { type RequestEvent, RequestParser } from './request.js';

/** From the first byte to the end of key and announcement. */
export const HEAD_DEADLINE_MS = 30_000;

/**
 * After an answer that refuses, the client's data are read and thrown away for so long: closing
 * with unread data resets the connection, and the client may lose the answer.
 */
const DRAIN_MS = 2_000;

const COMMIT = Buffer.from('T');

export interface SessionParts {
  apps: Apps;
  dialect: 'acked' | 'eof';
  limits: ReceiverConfig['limits'];
  bodyDeadlineMs: BodyDeadline;
  /** Nobody but a gate on this host can connect: what it says of its clients is believed. */
  behindGate: boolean;
  meter: ReceiverMeter;
  log: Logger;
}

/**
 * One connection: one request, one answer.
 *
 *     head -> receiving -> committing -> answered (T) -> client's EOF -> ended
 *       |         |            +-- out of place, disk --> refused (HTTP answer) -> drained -> ended
 *       +---------+-- limit, deadline, lie --> refused or ended without a byte
 *
 * It reads on while it commits: where the apply command is waited for, that may take long, and a
 * client that has left need not be waited for.
 */
export class Session {
  readonly #socket: Socket;
  readonly #connection: OpenConnection;
  readonly #parts: SessionParts;
  readonly #parser: RequestParser;
  readonly #idle: Deadline;
  /** The client is gone, or the connection is ending. */
  readonly #left = new Departure();
  /** For head and key, then for the body. */
  #timer: NodeJS.Timeout;
  #delivery: Delivery | null = null;
  #app = '';
  #commit = false;
  #excess = false;
  #answering: Promise<void> | null = null;
  #ended = false;

  /** @param socket TLS, or plain behind a gate */
  constructor(socket: Socket, connection: OpenConnection, parts: SessionParts) {
    this.#socket = socket;
    this.#connection = connection;
    this.#parts = parts;
    this.#parser = new RequestParser({
      dialect: parts.dialect,
      keysOf: (app) => parts.apps.keysOf(app),
    });
    this.#idle = new Deadline((ms) => {
      // A limit of ours holds the client back: that is not its idleness.
      if (this.#delivery?.isPaced === true) this.#idle.arm(ms);
      else this.#abandon('nothing came within the idle limit');
    });
    const inHead = () => {
      if (this.#parser.inHead) this.#abandon('head and key did not come in time');
    };
    this.#timer = setTimeout(inHead, HEAD_DEADLINE_MS);
  }

  /** Serves until the socket is over. Never throws. */
  async serve(): Promise<void> {
    try {
      this.#idle.arm(this.#parts.limits.idleMs);
      await this.#read();
    } catch (error) {
      this.#parts.log.debug({ err: error, app: this.#app }, 'connection lost');
    } finally {
      clearTimeout(this.#timer);
      this.#left.leave();
      await this.#answering;
      this.#idle.clear();
      await this.#delivery?.discard();
      await this.#finish();
    }
  }

  /** Ends it if nothing has been announced: nothing is lost by that. */
  retire(): void {
    if (this.#parser.inHead) this.abandon();
  }

  /** Ends it from outside, at a stop: politely, then for good. */
  abandon(): void {
    this.#abandon('the receiver stops');
  }

  async #read(): Promise<void> {
    const source = this.#socket.iterator({ destroyOnReturn: false });
    for await (const chunk of source as AsyncIterable<Buffer>) {
      // What follows the end is of no interest, but must be read for the client's EOF to be seen.
      if (this.#ended || this.#answering !== null) continue;
      this.#idle.touch();
      await this.#take(this.#parser.push(chunk));
    }
    if (!this.#ended && this.#answering === null) await this.#take(this.#parser.end());
  }

  async #take(events: Iterable<RequestEvent>): Promise<void> {
    for (const event of events) {
      const refusal = await this.#on(event);
      if (refusal !== null) return this.#refuse(refusal);
    }
    if (!this.#commit) return;
    this.#commit = false;
    if (this.#excess) return this.#refuse(ANSWERS.excess);
    clearTimeout(this.#timer);
    this.#answering = this.#commitAndAnswer();
  }

  /** @returns how the request is refused, null as long as it is not */
  async #on(event: RequestEvent): Promise<Answer | null> {
    try {
      switch (event.is) {
        case 'body': {
          this.#app = event.head.app;
          this.#connection.prove();
          clearTimeout(this.#timer);
          this.#timer = setTimeout(
            () => this.#abandon('the data did not come in time'),
            this.#parts.bodyDeadlineMs(event.body.bytes),
          );
          const opened = await openDelivery(this.#parts, event.head, event.body, this.#left);
          if ('refused' in opened) return opened.refused;
          this.#delivery = opened.delivery;
          return null;
        }
        case 'data':
          return (await this.#delivery?.write(event.data)) ?? null;
        case 'commit':
          this.#commit = true;
          return null;
        case 'excess':
          this.#excess = true;
          return null;
        case 'refused':
          return ANSWERS[event.why];
      }
    } catch (error) {
      return this.#storageFailed(error);
    }
  }

  async #commitAndAnswer(): Promise<void> {
    const delivery = this.#delivery;
    if (delivery === null) return;
    // Our own disk is not the client's idleness.
    this.#idle.clear();
    try {
      const refused = await delivery.commit();
      delivery.count(this.#parts.meter, this.#app);
      if (refused !== null) return await this.#refuse(refused);
    } catch (error) {
      return await this.#refuse(this.#storageFailed(error));
    } finally {
      if (!this.#ended) this.#idle.arm(this.#parts.limits.idleMs);
    }
    this.#parts.log.debug({ app: this.#app, ...delivery.description }, 'accepted');
    if (delivery.answered && !this.#ended)
      this.#socket.write(COMMIT, () => crashPoint('receiver.answered'));
  }

  #storageFailed(error: unknown): Answer {
    const answer = storageFailed(error);
    if (answer.oldStatus === ANSWERS.storage.oldStatus) {
      this.#parts.log.error({ err: error, app: this.#app }, 'could not store what was received');
    }
    return answer;
  }

  async #refuse(answer: Answer): Promise<void> {
    if (this.#ended) return;
    this.#parts.meter.refused(answer.reason);
    // What the client learns is true by then: nothing of it is left here.
    await this.#delivery?.discard();
    this.#parts.log.warn({ app: this.#app, peer: this.#peer, reason: answer.reason }, 'refused');
    this.#end(oldWireAnswer(answer));
  }

  #abandon(why: string): void {
    if (this.#ended) return;
    this.#parts.log.info({ app: this.#app, peer: this.#peer, why }, 'ended');
    this.#end(null);
  }

  get #peer(): string {
    const { gatePeer } = this.#parser;
    return this.#parts.behindGate && gatePeer !== null ? gatePeer : this.#connection.peer;
  }

  /** From here on we only wait for the client to go. */
  #end(lastWords: string | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#left.leave();
    this.#idle.clear();
    if (lastWords === null) this.#socket.end();
    else this.#socket.end(lastWords);
    const timer = setTimeout(() => this.#socket.destroy(), DRAIN_MS);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  /** The client has ended: so do we. */
  #finish(): Promise<void> {
    const socket = this.#socket;
    if (socket.closed) return Promise.resolve();
    return new Promise((resolve) => {
      socket.once('close', () => resolve());
      if (socket.destroyed) return;
      this.#end(null);
    });
  }
}
