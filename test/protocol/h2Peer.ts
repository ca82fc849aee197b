import {
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from 'node:http2';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { createServer, type TlsOptions } from 'node:tls';
import type { Endpoint } from '../../src/protocol/index.js';
import { testCerts } from '../support/certs.js';
import { closer, listen } from '../support/servers.js';
import { testEndpoint } from './scriptedServer.js';

export type H2Script = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  session: ServerHttp2Session,
) => void;

/**
 * An HTTP/2 server that treats each request as `script` says, behind a TCP hop where accidents are
 * made: a connection can be reset or no longer be read there.
 */
export class H2Peer {
  readonly sessions: ServerHttp2Session[] = [];
  readonly fronts: Socket[] = [];
  readonly #script: H2Script;
  readonly #settings: Settings;
  readonly #tcp = createTcpServer({ allowHalfOpen: true, noDelay: true });
  readonly #tls;
  readonly #backs: Socket[] = [];
  readonly #closers;

  constructor(script: H2Script, options: TlsOptions = {}, settings: Settings = {}) {
    this.#script = script;
    this.#settings = settings;
    const { cert, key } = testCerts();
    this.#tls = createServer({ cert, key, ALPNProtocols: ['h2'], ...options });
    this.#closers = [closer(this.#tcp), closer(this.#tls)];
  }

  async start(): Promise<this> {
    this.#tls.on('tlsClientError', () => undefined);
    this.#tls.on('secureConnection', (socket) => {
      socket.on('error', () => undefined);
      this.onSecure();
      const session = performServerHandshake(socket, {
        settings: { initialWindowSize: 1024 * 1024, ...this.#settings },
      });
      session.on('error', () => undefined);
      session.on('stream', (stream, headers) => {
        stream.on('error', () => undefined);
        this.#script(stream, headers, session);
      });
      this.sessions.push(session);
      this.onSession(session);
    });
    const port = await listen(this.#tls);
    this.#tcp.on('connection', (front) => {
      const back = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
      this.fronts.push(front);
      this.#backs.push(back);
      front.on('error', () => undefined);
      back.on('error', () => undefined);
      front.on('close', () => back.destroy());
      front.pipe(back);
      back.pipe(front);
      this.onConnect();
    });
    await listen(this.#tcp);
    return this;
  }

  /** Replaced by tests: the TCP connection is there; the handshake is over. */
  onConnect: () => void = () => undefined;
  onSecure: () => void = () => undefined;
  onSession: (session: ServerHttp2Session) => void = () => undefined;

  get connections(): number {
    return this.fronts.length;
  }

  endpoint(changes: Partial<Endpoint> = {}): Endpoint {
    const { port } = this.#tcp.address() as AddressInfo;
    return { ...testEndpoint(port), dialect: 'h2', ...changes };
  }

  /** The latest connection: a reset, or nothing moves any more in either direction. */
  strike(fault: 'reset' | 'stall'): void {
    const front = this.fronts.at(-1);
    const back = this.#backs.at(-1);
    if (front === undefined || back === undefined) return;
    front.unpipe(back);
    back.unpipe(front);
    front.pause();
    back.pause();
    if (fault === 'reset') front.resetAndDestroy();
  }

  async stop(): Promise<void> {
    for (const socket of this.#backs) socket.destroy();
    for (const session of this.sessions) session.destroy();
    await Promise.all(this.#closers.map((close) => close()));
  }
}

/** Reads all of a request. */
export async function whole(stream: ServerHttp2Stream): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of stream) parts.push(chunk as Buffer);
  return Buffer.concat(parts);
}
