import { once } from 'node:events';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import type { Endpoint } from '../../src/protocol/index.js';
import { testCerts } from '../support/certs.js';
import { closer, listen } from '../support/servers.js';
import { testEndpoint } from './scriptedServer.js';

/** What a peer does at a step: resets, stops for a while, or vanishes without a word. */
export type Fault = 'reset' | 'stall' | 'half-open';

/** Where on the wire it happens. Each step has happened when the fault begins. */
export const STEPS = [
  'TCP connect',
  'half a TLS handshake',
  'TLS handshake',
  'header',
  'key',
  'half an announcement',
  'some of the data',
  'all but the end',
  'end read',
  'answered',
  'half-closed',
  'end of file',
] as const;
export type Step = (typeof STEPS)[number];

const ALERT = 21;
/** Header, key and announcement are within this. */
const START_BYTES = 4_096;

/** The TCP side of one connection, in front of the TLS server: records seen, faults done here. */
class Tap {
  lastRecord = 0;
  /** The sender's end came. */
  ended = false;
  /** Strikes at the next bytes. */
  deaf = false;
  struck = false;
  /** Called when what the server said next, or its end, is out. */
  afterAnswer: (() => void) | undefined;
  afterEnd: (() => void) | undefined;
  /** What comes is no longer handed on. */
  stopReading: (() => void) | undefined;
  #left = 0;
  #head: number[] = [];

  constructor(
    readonly front: Socket,
    readonly back: Socket,
  ) {
    front.on('error', () => undefined);
    back.on('error', () => undefined);
    front.on('end', () => {
      this.ended = true;
      back.end();
    });
    back.on('data', (chunk: Buffer) => front.write(chunk, () => this.afterAnswer?.()));
    back.on('end', () => front.end(() => this.afterEnd?.()));
  }

  /** Follows the record headers; their types are readable below TLS 1.3. */
  follow(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at);
        this.#left -= step;
        at += step;
        continue;
      }
      this.#head.push(chunk[at] ?? 0);
      at += 1;
      if (this.#head.length < 5) continue;
      const [type = 0, , , high = 0, low = 0] = this.#head;
      this.lastRecord = type;
      this.#left = high * 256 + low;
      this.#head = [];
    }
  }
}

/**
 * A TLS server that takes batches and blobs as a receiver of ours would (the same one again is not
 * taken twice), and whose first connection goes wrong at one step.
 */
export class FaultyPeer {
  /** What was taken, in order. */
  readonly taken: string[] = [];
  readonly #step: Step;
  readonly #fault: Fault;
  readonly #endsWithEof: boolean;
  readonly #dataBytes: number;
  readonly #tcp = createTcpServer({ allowHalfOpen: true, pauseOnConnect: true });
  readonly #tls = createServer({
    cert: testCerts().cert,
    key: testCerts().key,
    // So that the tap can read the type of a record.
    maxVersion: 'TLSv1.2',
  });
  readonly #taps: Tap[] = [];
  readonly #closers = [closer(this.#tcp), closer(this.#tls)];
  /** The fault has begun. */
  happened = false;

  constructor(of: { step: Step; fault: Fault; dataBytes: number; endsWithEof: boolean }) {
    this.#step = of.step;
    this.#fault = of.fault;
    this.#endsWithEof = of.endsWithEof;
    this.#dataBytes = of.dataBytes;
  }

  async start(): Promise<this> {
    this.#tls.on('secureConnection', (socket) => this.#serve(socket));
    this.#tls.on('tlsClientError', () => undefined);
    const port = await listen(this.#tls);
    this.#tcp.on('connection', (front) => this.#onConnection(front, port));
    await listen(this.#tcp);
    return this;
  }

  get port(): number {
    return (this.#tcp.address() as AddressInfo).port;
  }

  endpoint(changes: Partial<Endpoint>): Endpoint {
    return { ...testEndpoint(this.port), ...changes };
  }

  /** The sender's port of the connection that went wrong. */
  get faultyPort(): number {
    return this.#taps[0]?.front.remotePort ?? 0;
  }

  /** A stalled peer reads on; resolves at the sender's end: how it ended. */
  async thaw(): Promise<'close_notify' | 'cut'> {
    const tap = this.#taps[0];
    if (tap === undefined) throw new Error('nobody connected');
    const { front } = tap;
    front.on('data', (chunk) => tap.follow(chunk));
    front.resume();
    if (!tap.ended && !front.destroyed) {
      await Promise.race([once(front, 'end'), once(front, 'close')]);
    }
    return tap.ended && tap.lastRecord === ALERT ? 'close_notify' : 'cut';
  }

  async stop(): Promise<void> {
    for (const { back } of this.#taps) back.destroy();
    await Promise.all(this.#closers.map((close) => close()));
  }

  #onConnection(front: Socket, port: number): void {
    const back = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const tap = new Tap(front, back);
    this.#taps.push(tap);
    const faulty = this.#taps.length === 1;
    if (faulty && this.#step === 'TCP connect') {
      this.#strike(tap);
      return;
    }
    const onData = (chunk: Buffer) => {
      tap.follow(chunk);
      // The sender is done with the handshake when its request comes; nobody reads that any more.
      if (tap.deaf || (faulty && this.#step === 'half a TLS handshake')) {
        this.#strike(tap);
        return;
      }
      if (back.write(chunk)) return;
      // Not ahead of the TLS server by more than the kernel's buffers: a step is struck in time.
      front.pause();
      back.once('drain', () => {
        if (!tap.struck) front.resume();
      });
    };
    tap.stopReading = () => front.off('data', onData);
    front.on('data', onData);
    front.resume();
  }

  #strike(tap: Tap): void {
    if (tap.struck) return;
    tap.struck = true;
    tap.stopReading?.();
    if (this.#fault === 'reset') tap.front.resetAndDestroy();
    else tap.front.pause();
    this.happened = true;
  }

  #serve(socket: TLSSocket): void {
    socket.allowHalfOpen = true;
    socket.on('error', () => undefined);
    const tap = this.#taps.find(({ back }) => back.localPort === socket.remotePort);
    if (tap === undefined) throw new Error('a connection past the tap');
    const faulty = tap === this.#taps[0];
    const reached = (step: Step): boolean => {
      if (!faulty || step !== this.#step) return false;
      this.#strike(tap);
      return true;
    };
    if (faulty && this.#step === 'TLS handshake') {
      tap.deaf = true;
      // Or it is here already.
      socket.once('data', () => this.#strike(tap));
      return;
    }
    const parts: Buffer[] = [];
    let length = 0;
    let start = '';
    let over = false;
    socket.on('data', (chunk: Buffer) => {
      if (over) return;
      parts.push(chunk);
      length += chunk.length;
      if (start.length < START_BYTES) start += chunk.toString('latin1');
      for (const [step, at] of this.#cuts(start)) {
        if (at === null || length < at) return;
        if (step === 'end read') this.#take(parts);
        if (reached(step)) {
          over = true;
          return;
        }
      }
      if (this.#endsWithEof) return;
      over = true;
      tap.afterAnswer = () => {
        tap.afterAnswer = undefined;
        reached('answered');
      };
      socket.write('T');
    });
    socket.on('end', () => {
      if (over !== this.#endsWithEof && !reached('half-closed')) {
        if (this.#endsWithEof) this.#take(parts);
        tap.afterEnd = () => reached('end of file');
        socket.end();
      }
    });
  }

  /** So many bytes are there when a step has happened; null: not known yet. */
  #cuts(text: string): [Step, number | null][] {
    const header = after(text, '\r\n\r\n', 0);
    const key = after(text, '\n', header);
    let announced = after(text, '\n', key);
    const isBlob = announced !== null && /^[^0-9]/.test(text.slice(key ?? 0));
    if (isBlob && !this.#endsWithEof) announced = after(text, '\n', announced);
    const data = announced === null ? null : announced + this.#dataBytes;
    const request = data === null ? null : data + 1;
    return [
      ['header', header],
      ['key', key],
      ['half an announcement', key === null ? null : key + 1],
      [
        'some of the data',
        announced === null ? null : announced + Math.min(this.#dataBytes / 2, 100_000),
      ],
      ['all but the end', data],
      ...(this.#endsWithEof ? [] : ([['end read', request]] as [Step, number | null][])),
    ];
  }

  #take(parts: readonly Buffer[]): void {
    const all = Buffer.concat(parts).toString('latin1');
    const taken = all.slice(after(all, '\n', after(all, '\r\n\r\n', 0)) ?? 0);
    if (this.taken.at(-1) !== taken) this.taken.push(taken);
  }
}

function after(text: string, what: string, from: number | null): number | null {
  if (from === null) return null;
  const at = text.indexOf(what, from);
  return at < 0 ? null : at + what.length;
}
