import type { Socket } from 'node:net';

/** One open connection, from its first packet to its end. */
export interface OpenConnection {
  readonly tcp: Socket;
  /** Whose it is: the address of the client, also behind a balancer that says it. */
  peer: string;
  /** Its client has proved a key: nobody else can take its place. */
  proved: boolean;
}

/**
 * All connections that are open, at most so many.
 *
 * Anybody may open connections and say nothing, so a place is only a client's own once it has
 * proved a key. When all places are taken, the oldest connection without a key makes room for a new
 * one: an honest client needs some milliseconds from its first packet to its key, and whoever wants
 * to keep it out has to open all places anew within these.
 */
export class OpenConnections {
  readonly #max: number;
  readonly #byAddress = new Map<string, OpenConnection>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#byAddress.size;
  }

  /** Takes a connection in; null: it has already ended, or there is no place that can be freed. */
  add(tcp: Socket): OpenConnection | null {
    const key = keyOf(tcp);
    if (key === null || (this.size >= this.#max && !this.#makeRoom())) return null;
    const connection: OpenConnection = { tcp, peer: tcp.remoteAddress ?? '', proved: false };
    this.#byAddress.set(key, connection);
    tcp.once('close', () => {
      if (this.#byAddress.get(key) === connection) this.#byAddress.delete(key);
    });
    return connection;
  }

  /** The connection that a TLS socket runs over; undefined when it has ended. */
  of(socket: Socket): OpenConnection | undefined {
    const key = keyOf(socket);
    return key === null ? undefined : this.#byAddress.get(key);
  }

  destroyAll(): void {
    for (const { tcp } of this.#byAddress.values()) tcp.destroy();
  }

  #makeRoom(): boolean {
    for (const [key, { tcp, proved }] of this.#byAddress) {
      if (proved) continue;
      this.#byAddress.delete(key);
      tcp.destroy();
      return true;
    }
    return false;
  }
}

function keyOf({ remoteAddress, remotePort }: Socket): string | null {
  return remoteAddress === undefined ? null : `${remoteAddress} ${remotePort}`;
}
