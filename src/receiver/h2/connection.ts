import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { Deadline } from '../../protocol/deadline.js';
import type { OpenConnection } from '../openConnections.js';
import { HEAD_MAX_BYTES, HEADERS_MAX } from '../request.js';
import { Exchange, type H2Parts } from './exchange.js';

/**
 * Bytes of a body that may be on their way to us. Smaller: a line of 50 ms carries less than
 * 20 MB/s. Larger: so much of each stream waits in memory while our disk is slow.
 */
const STREAM_WINDOW_BYTES = 1024 * 1024;
/** Of all streams of a connection together; what keeps them back is their own window. */
const CONNECTION_WINDOW_BYTES = 16 * STREAM_WINDOW_BYTES;
/** Streams at once on one connection, however many requests the receiver may serve in all. */
const STREAMS_MAX = 1_024;
/** A client that keeps trying keys or names of apps goes through a handshake for each so many. */
const STRANGERS_MAX = 10;
/** Frames outside the protocol before the connection ends. */
const INVALID_FRAMES_MAX = 100;
/** A client that was told to go and does not is cut off after this. */
const DRAIN_MS = 2_000;
/** MB: header tables, answers and acks that wait; more is refused. Bodies are bounded by windows. */
const SESSION_MEMORY_MB = 10;

/** Requests at once over all HTTP/2 connections of a receiver. */
export class Places {
  #taken = 0;

  constructor(private readonly max: number) {}

  take(): boolean {
    if (this.#taken >= this.max) return false;
    this.#taken += 1;
    return true;
  }

  give(): void {
    this.#taken -= 1;
  }
}

export interface H2ConnectionParts extends H2Parts {
  places: Places;
}

/**
 * One HTTP/2 connection: any number of requests, one after another and at once.
 *
 *     open --idle without a request, stop--> GOAWAY; open requests finish --> closed
 *       +--wrong keys, invalid frames, flood--> GOAWAY, closed at once
 */
export class H2Connection {
  readonly #socket: TLSSocket;
  readonly #connection: OpenConnection;
  readonly #parts: H2ConnectionParts;
  readonly #session: ServerHttp2Session;
  /** Runs while no request is open. */
  readonly #idle: Deadline;
  readonly #exchanges = new Set<Promise<void>>();
  #strangers = 0;
  #draining = false;

  constructor(socket: TLSSocket, connection: OpenConnection, parts: H2ConnectionParts) {
    this.#socket = socket;
    this.#connection = connection;
    this.#parts = parts;
    this.#idle = new Deadline(() => this.retire());
    this.#session = performServerHandshake(socket, sessionOptions(parts.limits.connections));
    this.#session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    this.#session.on('error', (error) => {
      parts.log.debug({ err: error }, 'connection broke');
      this.#drain();
    });
    this.#session.on('stream', (stream, headers) => this.#onStream(stream, headers));
  }

  /** Serves until the socket is over. Never throws. */
  async serve(): Promise<void> {
    this.#idle.arm(this.#parts.limits.idleMs);
    if (!this.#socket.closed) {
      await new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    }
    this.#idle.clear();
    await Promise.all(this.#exchanges);
  }

  /** GOAWAY: no further request; those that are open finish. */
  retire(): void {
    this.#idle.clear();
    this.#session.close();
    if (this.#exchanges.size === 0) this.#drain();
  }

  /** Ends it at once. */
  abandon(): void {
    this.#session.destroy();
    this.#drain();
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const { places } = this.#parts;
    if (!places.take()) {
      this.#parts.log.warn({ max: this.#parts.limits.connections }, 'request turned away');
      this.#parts.meter.refused('busy');
      stream.on('error', () => undefined);
      // Says that nothing of it was looked at: the client may send it again.
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    this.#idle.clear();
    const exchange = new Exchange(stream, headers, this.#parts, this.#connection);
    const served = exchange.serve().finally(() => {
      places.give();
      this.#exchanges.delete(served);
      if (exchange.isStranger) this.#countStranger();
      if (this.#exchanges.size > 0) return;
      if (this.#session.closed) this.#drain();
      else this.#idle.arm(this.#parts.limits.idleMs);
    });
    this.#exchanges.add(served);
  }

  #countStranger(): void {
    this.#strangers += 1;
    if (this.#strangers < STRANGERS_MAX || this.#session.closed) return;
    this.#session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    this.retire();
  }

  /** Nothing is left to be done: the client has a moment to close, too. */
  #drain(): void {
    const socket = this.#socket;
    if (socket.closed || this.#draining) return;
    this.#draining = true;
    const timer = setTimeout(() => socket.destroy(), DRAIN_MS);
    socket.once('close', () => clearTimeout(timer));
  }
}

function sessionOptions(requestsMax: number): ServerOptions {
  return {
    settings: {
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxConcurrentStreams: Math.min(requestsMax, STREAMS_MAX),
      maxHeaderListSize: HEAD_MAX_BYTES,
      enablePush: false,
    },
    maxHeaderListPairs: HEADERS_MAX,
    maxSessionMemory: SESSION_MEMORY_MB,
    maxSessionInvalidFrames: INVALID_FRAMES_MAX,
  };
}
