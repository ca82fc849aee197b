import { isIPv6, type Socket } from 'node:net';

/** An IPv6 network of this many groups of digits is one client's. */
const IPV6_GROUPS = 4;

/** One open connection, from its first packet to its end. */
export class OpenConnection {
  readonly tcp: Socket;
  readonly #strangers: Strangers;
  #peer: string;
  #isProved = false;

  constructor(tcp: Socket, strangers: Strangers) {
    this.tcp = tcp;
    this.#peer = tcp.remoteAddress ?? '';
    this.#strangers = strangers;
    strangers.add(this);
  }

  /** Whose it is: the address of the client, also behind a balancer that says it. */
  get peer(): string {
    return this.#peer;
  }

  /** A balancer has said whose it really is. */
  set peer(address: string) {
    // It may be gone by now: then it has no place to be counted for.
    const isStranger = this.#strangers.delete(this);
    this.#peer = address;
    if (isStranger) this.#strangers.add(this);
  }

  /** Its client has shown a key: nobody takes its place any more. */
  prove(): void {
    if (this.#isProved) return;
    this.#isProved = true;
    this.#strangers.delete(this);
  }
}

/**
 * All connections that are open, at most so many.
 *
 * Anybody may open connections and say nothing, so a place is only a client's own once it has
 * shown a key. When all places are taken, the address with most connections without a key gives
 * its oldest up for a new one. So whoever wants to keep an honest client out, which needs some
 * milliseconds from its first packet to its key, has to open all places anew within these, or has
 * to come from very many addresses.
 */
export class OpenConnections {
  readonly #max: number;
  readonly #byAddress = new Map<string, OpenConnection>();
  readonly #strangers = new Strangers();

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
    const connection = new OpenConnection(tcp, this.#strangers);
    this.#byAddress.set(key, connection);
    tcp.once('close', () => this.#forget(key, connection));
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
    const connection = this.#strangers.leastWelcome();
    if (connection === undefined) return false;
    const key = keyOf(connection.tcp);
    if (key !== null) this.#forget(key, connection);
    this.#strangers.delete(connection);
    connection.tcp.destroy();
    return true;
  }

  #forget(key: string, connection: OpenConnection): void {
    this.#strangers.delete(connection);
    if (this.#byAddress.get(key) === connection) this.#byAddress.delete(key);
  }
}

/** Connections whose clients have shown no key yet, by address, oldest first. */
class Strangers {
  readonly #groups = new Map<string, Set<OpenConnection>>();

  add(connection: OpenConnection): void {
    const group = groupOf(connection.peer);
    const set = this.#groups.get(group) ?? new Set();
    set.add(connection);
    this.#groups.set(group, set);
  }

  /** @returns whether it was one */
  delete(connection: OpenConnection): boolean {
    const group = groupOf(connection.peer);
    const set = this.#groups.get(group);
    const was = set?.delete(connection) ?? false;
    if (set?.size === 0) this.#groups.delete(group);
    return was;
  }

  leastWelcome(): OpenConnection | undefined {
    let largest: ReadonlySet<OpenConnection> = new Set();
    for (const set of this.#groups.values()) if (set.size > largest.size) largest = set;
    const [oldest] = largest;
    return oldest;
  }
}

function groupOf(address: string): string {
  // Shortened forms are not worth the trouble: the worst is that two networks share a group.
  return isIPv6(address) && !address.startsWith('::')
    ? address.split(':', IPV6_GROUPS).join(':')
    : address;
}

function keyOf({ remoteAddress, remotePort }: Socket): string | null {
  return remoteAddress === undefined ? null : `${remoteAddress} ${remotePort}`;
}
