import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { Findings } from '../findings.js';
import type { Ledger, Send } from '../ledger.js';
import type { Random } from '../random.js';
import { type Announced, parseHead, wholeSend } from './sinkRequest.js';

/** More than the sockets on both sides hold: the sender is kept waiting. */
const SEVERAL_WRITES_BYTES = 256 * 1024;

const URL_OF_JOURNAL = /^GET \/([^/]+)\.r\/!replica HTTP\/1\.0\r\n/;

/** A send whose `T` has come. It waits for its turn, is answered, and counts when its client closes. */
interface Turn {
  send: Send;
  socket: TLSSocket;
  closed: boolean;
  asked: boolean;
}

/**
 * Takes batches as PicoLisp's replica does: no knowledge of what came before, one request per
 * route at a time, applied when the `T` has come and the client has closed.
 *
 *     connected --TLS--> reading --cut, destroyed--> gone, nothing applied
 *     reading --T--> queued --turn--> answered --client closed--> counted --> closed
 */
export class SinkServer {
  readonly #tls: { cert: string; key: string };
  readonly #keyText: string;
  readonly #ledger: Ledger;
  readonly #findings: Findings;
  readonly #random: Random;
  readonly #turns = new Map<string, Turn[]>();
  readonly #reading = new Set<Socket>();
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  /** When a connection was accepted, by its port at the other side. */
  readonly #accepted = new Map<number, number>();
  #connections = 0;
  #port = 0;
  /** Hesitates now and then, so that what is killed or stopped is in the middle of something. */
  hesitates = true;

  constructor(options: {
    tls: { cert: string; key: string };
    keyText: string;
    ledger: Ledger;
    findings: Findings;
    random: Random;
  }) {
    this.#tls = options.tls;
    this.#keyText = options.keyText;
    this.#ledger = options.ledger;
    this.#findings = options.findings;
    this.#random = options.random;
  }

  get port(): number {
    return this.#port;
  }

  /** Sends that have their `T` and are not applied yet. */
  get pending(): number {
    return [...this.#turns.values()].reduce((sum, turns) => sum + turns.length, 0);
  }

  async up(): Promise<void> {
    const secure = createTlsServer({ ...this.#tls, allowHalfOpen: true }, (socket) =>
      this.#take(socket),
    );
    secure.on('tlsClientError', () => undefined);
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      this.#reading.add(socket);
      this.#sockets.add(socket);
      const port = socket.remotePort ?? 0;
      this.#accepted.set(port, performance.now());
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#reading.delete(socket);
        this.#sockets.delete(socket);
      });
      setTimeout(
        () => {
          this.#reading.delete(socket);
          if (!socket.destroyed) secure.emit('connection', socket);
        },
        this.#hesitation(0.15, 0.1, 100),
      );
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Refuses connections and cuts those that are reading; what has its `T` is applied. */
  down(): void {
    this.#server?.close();
    this.#server = null;
    for (const socket of this.#reading) socket.destroy();
  }

  stop(): void {
    this.down();
    for (const socket of this.#sockets) socket.destroy();
  }

  #take(socket: TLSSocket): void {
    this.#connections += 1;
    const connection = this.#connections;
    const connectedAt = this.#accepted.get(socket.remotePort ?? 0) ?? performance.now();
    this.#reading.add(socket);
    this.#sockets.add(socket);
    let head = Buffer.alloc(0);
    let announced: Announced | null = null;
    let parts: Buffer[] = [];
    let length = 0;
    let startedAt = 0;
    let turn: Turn | null = null;
    const gone = (): void => {
      this.#reading.delete(socket);
      if (turn === null) socket.end();
      else if (!turn.closed) {
        turn.closed = true;
        turn.send.endAt = performance.now();
        this.#pump(turn.send.journal);
      }
    };
    socket.on('error', () => undefined);
    socket.on('end', gone);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      gone();
    });
    const hesitate = (): void => {
      const ms = this.#hesitation(0.1, 0.1, 100);
      if (ms === 0) return;
      socket.pause();
      setTimeout(() => socket.resume(), ms);
    };
    socket.on('data', (chunk: Buffer) => {
      let data = chunk;
      if (turn !== null) {
        this.#findings.add(
          'torn',
          `connection ${connection} sent ${data.length} bytes after its T`,
        );
        return;
      }
      if (announced === null) {
        head = Buffer.concat([head, data]);
        const parsed = parseHead(head, {
          keyText: this.#keyText,
          journalOf: (request) => URL_OF_JOURNAL.exec(request)?.[1],
          refuse: (request) =>
            this.#findings.add('failures', `connection ${connection} sent no batch: ${request}`),
        });
        if (parsed === 'more') return;
        if (parsed === 'refused') {
          socket.destroy();
          return;
        }
        announced = parsed.announced;
        data = head.subarray(parsed.length);
        head = Buffer.alloc(0);
      }
      if (data.length === 0) return;
      if (startedAt === 0) {
        startedAt = performance.now();
        if (announced.bytes > SEVERAL_WRITES_BYTES) hesitate();
      }
      parts.push(data);
      length += data.length;
      if (length <= announced.bytes) return;
      const tAt = performance.now();
      const all = Buffer.concat(parts);
      parts = [];
      const at = { connection, connectedAt, startedAt, tAt };
      const send = wholeSend(announced, all, at, this.#findings, 'records');
      if (send === null) {
        socket.destroy();
        return;
      }
      this.#reading.delete(socket);
      turn = { send, socket, closed: false, asked: false };
      this.#ledger.arrived(send);
      const turns = this.#turns.get(send.journal) ?? [];
      this.#turns.set(send.journal, turns);
      turns.push(turn);
      this.#pump(send.journal);
    });
  }

  #pump(journal: string): void {
    const turns = this.#turns.get(journal) ?? [];
    const turn = turns[0];
    if (turn === undefined) return;
    if (turn.closed) {
      turns.shift();
      this.#ledger.count(turn.send);
      setTimeout(() => turn.socket.end(), this.#hesitation(0.1, 0.01, 80));
      this.#pump(journal);
      return;
    }
    if (turn.asked) return;
    turn.asked = true;
    const ms = this.#hesitation(0.15, 0.05, 100);
    if (ms === 0) turn.socket.write('T');
    else setTimeout(() => turn.socket.write('T'), ms);
  }

  /** Nothing in most cases, up to `shortMs` in some, seconds in few. */
  #hesitation(short: number, long: number, shortMs: number): number {
    if (!this.hesitates) return 0;
    const dice = this.#random.next();
    if (dice < long) return this.#random.between(300, 2_500);
    return dice < long + short ? this.#random.between(5, shortMs) : 0;
  }
}
