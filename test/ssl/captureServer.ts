/**
 * What a case lets its program connect to. Each server treats every connection as it is told, and
 * keeps the application bytes that came.
 */
import { connect, createServer, type Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { type ScriptedServer, type Seen, scriptedServer } from '../protocol/scriptedServer.js';
import { freePort } from '../support/freePort.js';
import { closer, listen } from '../support/servers.js';

export interface CaptureServer {
  readonly port: number;
  /** The application bytes of every connection, in the order of their TLS handshakes. */
  received(): Buffer[];
  /** How each connection was ended by its client: politely, or not (false), or not yet (null). */
  readonly ends: (boolean | null)[];
  /** TCP connections so far, whatever became of them. */
  readonly accepted: number;
  /** Lets scripts go on that wait for it. */
  proceed(): void;
  stop(): Promise<void>;
}

/** What becomes of a connection. `index` counts from 0; `proceed` is the case's word to go on. */
export type Script = (seen: Seen, index: number, proceed: Promise<void>) => Promise<void> | void;

/** A TLS server for localhost. `port`: default a free one. */
export async function tlsServer(
  script: Script,
  { ends = [], ...options }: TlsOptions & { port?: number; ends?: (boolean | null)[] } = {},
): Promise<CaptureServer> {
  let goOn = () => {};
  const proceed = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const server: ScriptedServer = await scriptedServer((seen) => {
    const index = ends.push(null) - 1;
    void seen.ended.then((polite) => {
      ends[index] = polite;
    });
    return script(seen, index, proceed);
  }, options);
  return {
    port: server.port,
    received: () => server.seen.map(({ bytes }) => bytes),
    ends,
    get accepted() {
      return ends.length;
    },
    proceed: goOn,
    stop: () => server.stop(),
  };
}

/** A TCP server that speaks no TLS: `treat` gets every connection. */
export async function plainServer(
  treat: (socket: Socket, index: number) => void,
): Promise<CaptureServer> {
  let accepted = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    accepted += 1;
    socket.on('error', () => undefined);
    treat(socket, accepted - 1);
  });
  const stop = closer(server);
  const port = await listen(server);
  return {
    port,
    received: () => [],
    ends: [],
    get accepted() {
      return accepted;
    },
    proceed: () => {},
    stop,
  };
}

/**
 * A TLS server that also counts connections which do not get as far as TLS.
 *
 * @param fails what to do with one before its handshake; true if that was all
 */
export async function countingServer(
  fails: (socket: Socket, index: number) => boolean,
  script: Script,
  options: TlsOptions = {},
): Promise<CaptureServer> {
  const behind = await tlsServer(script, options);
  const front = await plainServer((socket, index) => {
    if (fails(socket, index)) return;
    const onward = connect({ port: behind.port, host: '127.0.0.1', allowHalfOpen: true });
    onward.on('error', () => socket.destroy());
    socket.on('error', () => onward.destroy());
    socket.pipe(onward).pipe(socket);
  });
  return {
    ...behind,
    port: front.port,
    received: behind.received,
    get accepted() {
      return front.accepted;
    },
    async stop() {
      await front.stop();
      await behind.stop();
    },
  };
}

/** Nobody listens, until the case says `proceed`. */
export async function lateServer(script: Script): Promise<CaptureServer> {
  const port = await freePort();
  let server: Promise<CaptureServer> | null = null;
  let open: CaptureServer | null = null;
  const ends: (boolean | null)[] = [];
  return {
    port,
    received: () => open?.received() ?? [],
    ends,
    get accepted() {
      return open?.accepted ?? 0;
    },
    proceed() {
      server ??= tlsServer(script, { port, ends }).then((it) => {
        open = it;
        return it;
      });
    },
    async stop() {
      await (await server)?.stop();
    },
  };
}

/** Waits for exactly these bytes or more, answers, and closes. */
export function answers(bytes: number, answer: string | Buffer): Script {
  return async (seen) => {
    await seen.untilLength(bytes);
    seen.socket.end(typeof answer === 'string' ? Buffer.from(answer, 'latin1') : answer);
  };
}

/**
 * A replica: reads a whole journal or blob, answers `T`, waits for the client's end, and closes.
 * Behind another answer it closes at once.
 */
export function replies(answer: (request: Buffer, index: number) => string = () => 'T'): Script {
  return async (seen, index) => {
    await seen.until((bytes) => isWhole(bytes));
    const word = answer(seen.bytes, index);
    if (word === 'T') {
      seen.socket.write(word);
      await seen.ended;
      seen.socket.end();
    } else seen.socket.end(word);
  };
}

/** Whether a journal or a blob of the 2022 dialect has come to its `T`. The key is one line. */
function isWhole(bytes: Buffer): boolean {
  const text = bytes.toString('latin1');
  const start = /^GET [^\n]*\r\n(?:[^\r\n]+\r\n)+\r\n[^\n]*\n(?:[^\n]*[^\d\n][^\n]*\n)?(\d+)\n/;
  const match = start.exec(text);
  return match !== null && text.length > match[0].length + Number(match[1]);
}
