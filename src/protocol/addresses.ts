import { type LookupAddress, lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';

/**
 * An answer of the resolver serves connections for so long. Each question is a trip through the
 * thread pool, and often one over the network. Longer: an address that was changed is missed.
 */
const ANSWER_MS = 1_000;
/** Hosts; with more than that the oldest answer is forgotten. */
const ANSWERS_MAX = 1_024;

/** Names of hosts and what they resolved to a moment ago, for bursts of connections. */
export class Addresses {
  readonly #ask: LookupFunction;
  readonly #now: () => number;
  readonly #answers = new Map<string, { at: number; addresses: LookupAddress[] }>();

  constructor(ask: LookupFunction = lookup as LookupFunction, now = () => performance.now()) {
    this.#ask = ask;
    this.#now = now;
  }

  /** Node's lookup, with an answer of the last second where there is one: all addresses of it. */
  readonly lookup: LookupFunction = (host, options, callback) => {
    const known = this.#answers.get(host);
    if (options.all && known !== undefined && this.#now() - known.at < ANSWER_MS) {
      process.nextTick(callback, null, [...known.addresses]); // Node expects it to come later
      return;
    }
    this.#ask(host, options, (error, address, family) => {
      if (!error && Array.isArray(address)) this.#remember(host, [...address]);
      callback(error, address, family);
    });
  };

  /**
   * A connection stands: for the rest of the second this address is tried first. `localhost` is
   * two addresses, of which mostly one listens; each connection would try the other one, too.
   */
  reached(host: string, address: string | undefined): void {
    const addresses = this.#answers.get(host)?.addresses;
    const at = addresses?.findIndex((one) => one.address === address) ?? -1;
    if (addresses !== undefined && at > 0) addresses.unshift(...addresses.splice(at, 1));
  }

  /** No connection came about: the next one asks anew. */
  forget(host: string): void {
    this.#answers.delete(host);
  }

  #remember(host: string, addresses: LookupAddress[]): void {
    this.#answers.delete(host);
    const [oldest] = this.#answers.keys();
    if (this.#answers.size >= ANSWERS_MAX && oldest !== undefined) this.#answers.delete(oldest);
    this.#answers.set(host, { at: this.#now(), addresses });
  }
}
