import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { FerryError, systemCode } from '../common/errors.js';
import type { ListenAddress, ReceiverConfig } from '../config/model.js';
import { H2Connection, Places } from './h2/connection.js';
import { Session, type SessionParts } from './session.js';

/** Connections that the kernel holds for us while all places are taken. */
const BACKLOG = 511;
/** At most; a shorter idle limit holds for the handshake too. */
const HANDSHAKE_MS = 10_000;

export interface ServerOptions {
  listen: ListenAddress;
  /** PEM. P-256 is 30 times cheaper to sign with than RSA-2048. */
  cert: Buffer;
  key: Buffer;
  ticketKeys: Buffer;
}

export type ServerParts = Omit<SessionParts, 'dialect'> & Pick<ReceiverConfig, 'dialect'>;

/** A connection, whichever wire it speaks. */
interface Served {
  /** Resolves when it is over; never throws. */
  serve(): Promise<void>;
  /** Nothing new; what has been begun may finish. */
  retire(): void;
  /** Ends it now. */
  abandon(): void;
}

/**
 * The TLS server: accepts connections within the limit. A client that asks for HTTP/2 in the
 * handshake (ALPN `h2`) is served by an H2Connection, every other by a Session of the old wire:
 * PicoLisp's programs ask for nothing.
 */
export class ReceiverServer {
  readonly #server: Server;
  /** Connections including those still in the handshake. */
  readonly #raw = new Set<Socket>();
  readonly #sessions = new Map<Served, Promise<void>>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws FerryError TLS_FILES_INVALID, LISTEN_FAILED */
  static async start(options: ServerOptions, parts: ServerParts): Promise<ReceiverServer> {
    const server = new ReceiverServer(makeServer(options, parts));
    const { log, limits } = parts;
    server.#server.maxConnections = limits.connections;
    server.#server.on('drop', () => log.warn({ max: limits.connections }, 'connection dropped'));
    server.#server.on('tlsClientError', (error, socket) => {
      log.debug({ err: error }, 'handshake failed');
      // Node says that the handshake took too long, and leaves the connection where it is.
      socket.destroy();
    });
    server.#server.on('connection', (socket: Socket) => {
      server.#raw.add(socket);
      socket.once('close', () => server.#raw.delete(socket));
    });
    const h2Parts = { ...parts, places: new Places(limits.connections) };
    server.#server.on('secureConnection', (socket) => {
      socket.setNoDelay(true);
      socket.on('error', (error) => log.debug({ err: error }, 'connection broke'));
      const session =
        socket.alpnProtocol === 'h2' ? new H2Connection(socket, h2Parts) : oldWire(socket, parts);
      if (session === null) return;
      const served = session.serve().finally(() => server.#sessions.delete(session));
      server.#sessions.set(session, served);
    });
    await server.#listen(options.listen);
    server.#server.on('error', (error) => log.error({ err: error }, 'server error'));
    return server;
  }

  get address(): { host: string; port: number } {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port };
  }

  /** Open now, those still in the handshake included. */
  get connections(): number {
    return this.#raw.size;
  }

  /** No new connections and requests; what has been announced may finish within `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions.keys()) session.retire();
    const timer = setTimeout(() => {
      for (const session of this.#sessions.keys()) session.abandon();
    }, graceMs);
    await Promise.all(this.#sessions.values());
    clearTimeout(timer);
    for (const socket of this.#raw) socket.destroy();
    await closed;
  }

  #listen({ host, port }: ListenAddress): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(
          new FerryError(
            'LISTEN_FAILED',
            `cannot listen on ${host}:${port} (${systemCode(error)})`,
            {
              kind: 'usage',
              hint: 'choose a free port, or one this user may open',
              cause: error,
            },
          ),
        );
      });
      this.#server.listen({ host, port, backlog: BACKLOG }, () => {
        this.#server.removeAllListeners('error');
        resolve();
      });
    });
  }
}

/** @returns null when this receiver speaks HTTP/2 only: the connection is ended */
function oldWire(socket: TLSSocket, parts: ServerParts): Session | null {
  const { dialect } = parts;
  if (dialect === 'h2') {
    socket.destroySoon();
    return null;
  }
  // After our answer we read on until the client ends; its EOF must not end our side. Not an
  // option of the server: a client that leaves in the handshake would stay half open.
  socket.allowHalfOpen = true;
  return new Session(socket, { ...parts, dialect });
}

function makeServer(
  { cert, key, ticketKeys }: ServerOptions,
  { dialect, limits }: ServerParts,
): Server {
  try {
    return createServer({
      cert,
      key,
      ticketKeys,
      minVersion: 'TLSv1.2',
      handshakeTimeout: Math.min(HANDSHAKE_MS, limits.idleMs),
      // The old wire begins like HTTP/1, so a client that asks for just that is let in.
      ALPNProtocols: dialect === 'h2' ? ['h2'] : ['h2', 'http/1.1'],
      noDelay: true,
    });
  } catch (error) {
    throw new FerryError('TLS_FILES_INVALID', 'certificate and key do not load', {
      kind: 'usage',
      hint: 'both must be PEM, and the key must be the certificate’s',
      cause: error,
    });
  }
}
