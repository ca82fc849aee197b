import { once } from 'node:events';
import type { Socket } from 'node:net';
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import type { Endpoint } from '../../src/protocol/index.js';
import { testCerts } from '../support/certs.js';
import { closer, listen } from '../support/servers.js';

/** One connection as the scripted server saw it. */
export class Seen {
  readonly socket: TLSSocket;
  /** Closes the TCP connection with a reset, as a kernel does for a process that died. */
  reset: () => void = () => undefined;
  bytes: Buffer = Buffer.alloc(0);
  /** Length of the first read: what the client put into its first TLS record. */
  firstRead = 0;
  readonly reused: boolean;
  /** Resolves at the client's end of file: true for a polite end, false for a broken one. */
  readonly ended: Promise<boolean>;
  #wake: () => void = () => undefined;

  constructor(socket: TLSSocket) {
    this.socket = socket;
    this.reused = socket.isSessionReused();
    socket.on('data', (chunk: Buffer) => {
      if (this.bytes.length === 0) this.firstRead = chunk.length;
      this.bytes = Buffer.concat([this.bytes, chunk]);
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      socket.once('end', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('close', () => resolve(false));
    });
  }

  /** Until the request ends so: usually in the commit byte. */
  async until(enough: (bytes: Buffer) => boolean): Promise<void> {
    while (!enough(this.bytes)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  untilLength(bytes: number): Promise<void> {
    return this.until((all) => all.length >= bytes);
  }
}

export interface ScriptedServer {
  port: number;
  seen: Seen[];
  /** The nth connection, waited for: a client can be done before the server has noticed it. */
  connection(n: number): Promise<Seen>;
  endpoint(changes?: Partial<Endpoint>): Endpoint;
  stop(): Promise<void>;
}

/** A TLS server on loopback that treats each connection as `script` says. `port`: default a free one. */
export async function scriptedServer(
  script: (seen: Seen) => Promise<void> | void,
  { port: wanted = 0, ...options }: TlsOptions & { port?: number } = {},
): Promise<ScriptedServer> {
  const certs = testCerts();
  const seen: Seen[] = [];
  const server = createServer({
    cert: certs.cert,
    key: certs.key,
    ...options,
  });
  const stop = closer(server);
  const raw = new Map<number | undefined, Socket>();
  server.on('connection', (socket: Socket) => {
    raw.set(socket.remotePort, socket);
  });
  server.on('secureConnection', (socket) => {
    socket.allowHalfOpen = true;
    socket.on('error', () => undefined);
    const one = new Seen(socket);
    one.reset = () => raw.get(socket.remotePort)?.resetAndDestroy();
    seen.push(one);
    void script(one);
  });
  const port = await listen(server, wanted);
  return {
    port,
    seen,
    async connection(n) {
      while (seen[n] === undefined) await once(server, 'secureConnection');
      return seen[n];
    },
    endpoint: (changes = {}) => ({ ...testEndpoint(port), ...changes }),
    stop,
  };
}

/** What an honest replica does: waits for `T`, answers, and closes after the client. */
export async function honest(seen: Seen): Promise<void> {
  await seen.until((bytes) => bytes.toString('latin1').endsWith('T'));
  seen.socket.write('T');
  await seen.ended;
  seen.socket.end();
}

/** More than anything takes on a busy machine; a test that waits for a deadline sets a short one. */
export const LONG_TIMEOUTS = { connectMs: 20_000, idleMs: 20_000, applyMs: 20_000 };

/** An endpoint on loopback with the test authority. */
export function testEndpoint(port: number): Endpoint {
  return {
    name: `test-${port}`,
    host: 'localhost',
    port,
    url: 'foo.r/!replica',
    key: Buffer.from('secret\n'),
    dialect: 'acked',
    confirm: 'applied',
    tls: { verify: true, ca: testCerts().ca, servername: null },
    timeouts: LONG_TIMEOUTS,
  };
}

/** A payload of the given pieces. */
export async function* pieces(
  ...parts: readonly (string | Uint8Array)[]
): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}
