import {
  type AddressInfo,
  BlockList,
  createServer as createTcpServer,
  isIPv6,
  type Socket,
  type Server as TcpServer,
} from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { FerryError, systemCode } from '../common/errors.js';
import type { ListenAddress, ReceiverConfig, Subnet } from '../config/model.js';
import { H2Connection, Places } from './h2/connection.js';
import { type OpenConnection, OpenConnections } from './openConnections.js';
import { readProxyHeader } from './proxyHeader.js';
import { Session, type SessionParts } from './session.js';
import { contextOptions } from './tlsFiles.js';
import type { TlsMaterial } from './tlsSettings.js';

/** Connections that the kernel holds for us until we take them. */
const BACKLOG = 511;
/** At most; a shorter idle limit holds for the handshake too. */
const HANDSHAKE_MS = 10_000;

export interface ServerOptions {
  listen: ListenAddress;
  /** Null: no TLS. */
  tls: TlsMaterial | null;
  /** Whose connections begin with a PROXY protocol header. */
  proxies: readonly Subnet[];
}

export type ServerParts = Omit<SessionParts, 'dialect' | 'behindGate'> &
  Pick<ReceiverConfig, 'dialect'>;

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
 * Accepts connections within the limit.
 *
 *     TCP -> [PROXY header, from a listed proxy] -> [TLS handshake] -> Session | H2Connection
 *
 * A client that asks for HTTP/2 in the handshake (ALPN `h2`) is served by an H2Connection, every
 * other by a Session of the old wire: PicoLisp's programs ask for nothing.
 */
export class ReceiverServer {
  readonly #parts: ServerParts;
  readonly #tcp: TcpServer;
  /** Gets its connections from `#tcp`; it listens to nothing by itself. */
  readonly #tls: TlsServer | null;
  readonly #proxies: BlockList;
  readonly #handshakeMs: number;
  readonly #open: OpenConnections;
  readonly #places: Places;
  readonly #sessions = new Map<Served, Promise<void>>();

  private constructor(options: ServerOptions, parts: ServerParts) {
    this.#parts = parts;
    this.#open = new OpenConnections(parts.limits.connections);
    this.#places = new Places(parts.limits.connections);
    this.#handshakeMs = Math.min(HANDSHAKE_MS, parts.limits.idleMs);
    this.#proxies = listOf(options.proxies);
    this.#tcp = createTcpServer({ noDelay: true }, (tcp) => void this.#onConnection(tcp));
    this.#tls = options.tls === null ? null : this.#makeTls(options.tls);
  }

  /** @throws FerryError LISTEN_FAILED */
  static async start(options: ServerOptions, parts: ServerParts): Promise<ReceiverServer> {
    const server = new ReceiverServer(options, parts);
    await server.#listen(options.listen);
    server.#tcp.on('error', (error) => parts.log.error({ err: error }, 'server error'));
    return server;
  }

  get address(): { host: string; port: number } {
    const { address, port } = this.#tcp.address() as AddressInfo;
    return { host: address, port };
  }

  /** Open now, those still in the handshake included. */
  get connections(): number {
    return this.#open.size;
  }

  /** For handshakes from now on; connections that are open are not touched. */
  useTls({ files, ticketKeys }: TlsMaterial): void {
    this.#tls?.setSecureContext({ ...contextOptions(files), ticketKeys });
  }

  /** No new connections and requests; what has been announced may finish within `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#tcp.close(() => resolve()));
    for (const session of this.#sessions.keys()) session.retire();
    const timer = setTimeout(() => {
      for (const session of this.#sessions.keys()) session.abandon();
    }, graceMs);
    await Promise.all(this.#sessions.values());
    clearTimeout(timer);
    this.#open.destroyAll();
    await closed;
  }

  async #onConnection(tcp: Socket): Promise<void> {
    const { log } = this.#parts;
    const connection = this.#open.add(tcp);
    if (connection === null) {
      tcp.destroy();
      log.warn({ max: this.#parts.limits.connections }, 'connection dropped');
      return;
    }
    if (this.#isProxy(tcp) && !(await this.#learnPeer(connection))) return;
    if (this.#tls === null) this.#serveOldWire(tcp, connection);
    else this.#tls.emit('connection', tcp);
  }

  /** @returns false: it said nothing that makes sense, and was ended */
  async #learnPeer(connection: OpenConnection): Promise<boolean> {
    const { tcp } = connection;
    tcp.on('error', () => undefined);
    const timer = setTimeout(() => tcp.destroy(), this.#handshakeMs);
    try {
      const peer = await readProxyHeader(tcp);
      if (peer !== null) connection.peer = peer;
      return !tcp.destroyed;
    } catch (error) {
      tcp.destroy();
      this.#parts.log.debug({ err: error, peer: connection.peer }, 'no PROXY protocol header');
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  #isProxy({ remoteAddress }: Socket): boolean {
    if (remoteAddress === undefined) return false;
    // A socket that listens to both families shows IPv4 addresses as those of IPv6.
    const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/, '');
    return this.#proxies.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  }

  #serveOldWire(socket: Socket, connection: OpenConnection): void {
    const { dialect } = this.#parts;
    if (dialect === 'h2') {
      socket.destroySoon();
      return;
    }
    // After our answer we read on until the client ends; its EOF must not end our side. Not an
    // option of the server: a client that leaves in the handshake would stay half open.
    socket.allowHalfOpen = true;
    const parts = { ...this.#parts, dialect, behindGate: this.#tls === null };
    this.#serve(socket, new Session(socket, connection, parts));
  }

  #serve(socket: Socket, session: Served): void {
    socket.on('error', (error) => this.#parts.log.debug({ err: error }, 'connection broke'));
    const served = session.serve().finally(() => this.#sessions.delete(session));
    this.#sessions.set(session, served);
  }

  #makeTls({ files, ticketKeys }: TlsMaterial): TlsServer {
    const clientsShowOne = files.clientCa !== null;
    const server = createTlsServer({
      ...contextOptions(files),
      ticketKeys,
      handshakeTimeout: this.#handshakeMs,
      // The old wire begins like HTTP/1, so a client that asks for just that is let in.
      ALPNProtocols: this.#parts.dialect === 'h2' ? ['h2'] : ['h2', 'http/1.1'],
      requestCert: clientsShowOne,
      rejectUnauthorized: clientsShowOne,
    });
    server.on('tlsClientError', (error, socket) => {
      this.#parts.log.debug({ err: error }, 'handshake failed');
      // Node says that the handshake took too long, and leaves the connection where it is.
      socket.destroy();
    });
    server.on('secureConnection', (socket) => {
      const connection = this.#open.of(socket);
      if (connection === undefined) {
        socket.destroy();
      } else if (socket.alpnProtocol === 'h2') {
        const parts = { ...this.#parts, places: this.#places };
        this.#serve(socket, new H2Connection(socket, connection, parts));
      } else {
        this.#serveOldWire(socket, connection);
      }
    });
    return server;
  }

  #listen({ host, port }: ListenAddress): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#tcp.once('error', (error) => {
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
      this.#tcp.listen({ host, port, backlog: BACKLOG }, () => {
        this.#tcp.removeAllListeners('error');
        resolve();
      });
    });
  }
}

function listOf(subnets: readonly Subnet[]): BlockList {
  const list = new BlockList();
  for (const { address, bits } of subnets) {
    list.addSubnet(address, bits, isIPv6(address) ? 'ipv6' : 'ipv4');
  }
  return list;
}
