import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { FerryError, systemCode } from '../common/errors.js';
import type { ListenAddress } from '../config/model.js';
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

/** The TLS server: accepts connections within the limit, serves each by a Session. */
export class ReceiverServer {
  readonly #server: Server;
  /** Connections including those still in the handshake. */
  readonly #raw = new Set<Socket>();
  readonly #sessions = new Map<Session, Promise<void>>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws FerryError TLS_FILES_INVALID, LISTEN_FAILED */
  static async start(options: ServerOptions, parts: SessionParts): Promise<ReceiverServer> {
    const server = new ReceiverServer(makeServer(options, parts.limits.idleMs));
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
    server.#server.on('secureConnection', (socket) => {
      // After our answer we read on until the client ends; its EOF must not end our side. Not an
      // option of the server: a client that leaves in the handshake would stay half open.
      socket.allowHalfOpen = true;
      socket.setNoDelay(true);
      socket.on('error', (error) => log.debug({ err: error }, 'connection broke'));
      const session = new Session(socket, parts);
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

  /** No new connections; those that have announced something may finish within `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions.keys()) if (session.inHead) session.abandon();
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

function makeServer({ cert, key, ticketKeys }: ServerOptions, idleMs: number): Server {
  try {
    return createServer({
      cert,
      key,
      ticketKeys,
      minVersion: 'TLSv1.2',
      handshakeTimeout: Math.min(HANDSHAKE_MS, idleMs),
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
