import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Findings } from '../findings.js';
import type { Ledger, Send } from '../ledger.js';
import { parseHead, T, wholeSend } from './sinkRequest.js';

/**
 * Stands between httpGate and the replica, hands everything on as it comes, and tells the ledger
 * what the replica applies: a batch whose `T` it has answered, at the moment when it closes. The
 * replica serves one connection at a time, so that is the order in which it applies them.
 */
export class Observer {
  readonly #options: ObserverOptions;
  readonly #sockets = new Set<Socket>();
  /** Connections whose `T` has not come: those may be cut. */
  readonly #reading = new Set<Socket>();
  #server: Server | null = null;
  #port = 0;
  #connections = 0;

  constructor(options: ObserverOptions) {
    this.#options = options;
  }

  get port(): number {
    return this.#port;
  }

  async up(): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (client) => this.#take(client));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '::1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** To the gate the replica is gone; what has its `T` is applied. */
  down(): void {
    this.#server?.close();
    this.#server = null;
    for (const client of this.#reading) client.destroy();
  }

  stop(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #take(client: Socket): void {
    const connectedAt = performance.now();
    this.#connections += 1;
    const replica = connect({ host: '::1', port: this.#options.replicaPort, allowHalfOpen: true });
    const request = new Request(this.#options, this.#connections, connectedAt);
    this.#reading.add(client);
    for (const socket of [client, replica]) {
      this.#sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => this.#sockets.delete(socket));
    }
    client.on('data', (chunk: Buffer) => {
      request.sent(chunk);
      if (request.send !== null) this.#reading.delete(client);
    });
    replica.on('data', (chunk: Buffer) => request.answered(chunk));
    client.pipe(replica);
    replica.pipe(client);
    // To the replica a client that was cut has closed. It reads no further, and applies nothing.
    client.on('close', () => {
      this.#reading.delete(client);
      replica.end();
    });
    replica.on('end', () => request.ended());
    replica.on('close', () => client.end());
  }
}

export interface ObserverOptions {
  replicaPort: number;
  journal: string;
  keyText: string;
  ledger: Ledger;
  findings: Findings;
}

/** One connection, as the replica sees it. */
class Request {
  readonly #options: ObserverOptions;
  readonly #connection: number;
  readonly #connectedAt: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #startedAt = 0;
  #whole = Number.POSITIVE_INFINITY;
  #tAnswered = false;
  send: Send | null = null;

  constructor(options: ObserverOptions, connection: number, connectedAt: number) {
    this.#options = options;
    this.#connection = connection;
    this.#connectedAt = connectedAt;
  }

  sent(chunk: Buffer): void {
    const { keyText, journal, findings, ledger } = this.#options;
    if (this.send !== null) {
      findings.add('torn', `connection ${this.#connection} sent more after its T`);
      return;
    }
    this.#parts.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#whole && this.#startedAt > 0) return;
    const all = Buffer.concat(this.#parts);
    this.#parts = [all];
    const parsed = parseHead(all, {
      keyText,
      journalOf: (request) => (request.startsWith('GET /!replica ') ? journal : undefined),
      refuse: (request) =>
        findings.add('failures', `connection ${this.#connection} sent no batch: ${request}`),
    });
    if (typeof parsed === 'string' || all.length <= parsed.length) return;
    const now = performance.now();
    if (this.#startedAt === 0) this.#startedAt = now;
    this.#whole = parsed.length + parsed.announced.bytes + 1;
    if (all.length < this.#whole) return;
    this.#parts = [];
    this.send = wholeSend(
      parsed.announced,
      all.subarray(parsed.length),
      {
        connection: this.#connection,
        connectedAt: this.#connectedAt,
        startedAt: this.#startedAt,
        tAt: now,
      },
      findings,
    );
    if (this.send !== null) ledger.arrived(this.send);
  }

  answered(chunk: Buffer): void {
    this.#tAnswered ||= this.send !== null && chunk.at(-1) === T;
  }

  /** The replica has closed. */
  ended(): void {
    if (this.send === null || !this.#tAnswered) return;
    this.send.endAt = performance.now();
    this.#options.ledger.count(this.send);
  }
}
