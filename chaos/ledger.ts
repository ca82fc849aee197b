import { type Findings, seconds } from './findings.js';
import type { Loss } from './peers/peer.js';
import { compareOrder, type Run } from './records.js';

/** No lease from before a loss of Redis lives longer; no route is opened again sooner. */
const LEASE_MS = 15_000;
/** Sends to look back at for overlaps: leases of 15 s and a batch each few milliseconds. */
const RECENT_MAX = 5_000;

/** One connection that brought a whole batch and its `T`. */
export interface Send {
  journal: string;
  connection: number;
  stream: string;
  sequence: number;
  previous: number;
  sha256: string;
  bytes: number;
  runs: Run[];
  /** Connected, first byte of payload, the `T`, and the end of the connection. */
  connectedAt: number;
  startedAt: number;
  tAt: number;
  endAt: number;
}

interface Known {
  sha256: string;
  runs: Run[];
  countedAt: number;
  /** When its `T` came the last time. */
  lastT: number;
}

interface Route {
  stream: string;
  last: number;
  max: number;
  known: Map<number, Known>;
  recent: Send[];
  /** Losses of Redis that this route has not been sent again for. */
  losses: Loss[];
  /** Times without a destination that this route has not stepped back for. */
  outages: Outage[];
}

/** Connections failed from `from` on; `to` is infinite while they do. */
interface Outage {
  readonly from: number;
  to: number;
}

/**
 * Counts batches of all routes in the order in which a replica would apply them, and knows which
 * orders are allowed:
 *
 *     n -> n + 1            the next one, or on with what is being sent again
 *     n -> n                a repeat directly after itself
 *     n -> any m <= n       once per loss of Redis, and then everything from m on, in order
 *     n -> n - 1 -> n       once per outage of the destination after the `T` of n: nobody heard the
 *                           answer to n, and it may have died while it applied n - 1
 */
export class Ledger {
  repeats = 0;
  rewinds = 0;
  stepsBack = 0;
  batches = 0;
  bytes = 0;
  readonly #findings: Findings;
  readonly #routes = new Map<string, Route>();
  /** The one that is not over. */
  #outage: Outage | null = null;

  constructor(findings: Findings, journals: readonly string[]) {
    this.#findings = findings;
    for (const journal of journals) {
      this.#routes.set(journal, {
        stream: '',
        last: 0,
        max: 0,
        known: new Map(),
        recent: [],
        losses: [],
        outages: [],
      });
    }
  }

  /** The last record that was counted of a journal, once everything up to it has been. */
  countedRecords(journal: string): number {
    const { last, max, known } = this.#route(journal);
    return last < max ? 0 : (known.get(max)?.runs.at(-1)?.last ?? 0);
  }

  redisLost(): Loss {
    const loss = { at: Number.POSITIVE_INFINITY };
    for (const route of this.#routes.values()) route.losses.push(loss);
    return loss;
  }

  /** @param at ms of `performance.now()` */
  destinationDown(at = performance.now()): void {
    const outage: Outage = { from: at, to: Number.POSITIVE_INFINITY };
    this.#outage = outage;
    for (const route of this.#routes.values()) route.outages.push(outage);
  }

  /** @param at ms of `performance.now()` */
  destinationUp(at = performance.now()): void {
    if (this.#outage !== null) this.#outage.to = at;
    this.#outage = null;
  }

  /** A `T` has come: was another send of this route under way meanwhile? */
  arrived(send: Send): void {
    const route = this.#route(send.journal);
    for (const other of route.recent) {
      if (other.tAt <= send.startedAt) continue;
      this.#findings.add('overlaps', `${describe(other)} and ${describe(send)}`);
    }
    route.recent.push(send);
    if (route.recent.length > 2 * RECENT_MAX) route.recent.splice(0, RECENT_MAX);
  }

  /** It is applied now. */
  count(send: Send): void {
    const route = this.#route(send.journal);
    const { sequence } = send;
    if (route.stream === '') route.stream = send.stream;
    if (route.stream !== send.stream) {
      this.#findings.add('failures', `another stream than ${route.stream}: ${describe(send)}`);
      return;
    }
    if (sequence === route.last && sequence > 0) this.repeats += 1;
    else if (sequence > route.last + 1) this.#leap(route, send);
    else if (sequence <= route.last && !this.#mayRewind(route, send)) return;
    this.#settle(route, send);
    this.#remember(route, send);
    route.last = sequence;
    route.max = Math.max(route.max, sequence);
  }

  /** The content without its repeats against what was written. */
  check(written: ReadonlyMap<string, number>): void {
    for (const [journal, route] of this.#routes) {
      if (route.last < route.max) {
        this.#findings.add(
          'reordered',
          `${journal}: sent again up to ${route.last}, but ${route.max} had been counted`,
        );
      }
      const inOrder = [...route.known.entries()].sort(([a], [b]) => a - b);
      const runs = inOrder.flatMap(([, known]) => known.runs);
      const { lost, duplicated, reordered } = compareOrder(runs, written.get(journal) ?? 0);
      for (const [fault, numbers] of Object.entries({ lost, duplicated, reordered })) {
        if (numbers.length === 0) continue;
        this.#findings.add(
          fault as 'lost' | 'duplicated' | 'reordered',
          `${journal}: ${numbers.length} records by content, the first is ${numbers[0]}`,
          numbers.length,
        );
      }
    }
  }

  #leap(route: Route, send: Send): void {
    this.#findings.add('reordered', `${describe(send)} came after ${route.last}`);
  }

  #mayStepBack(route: Route, send: Send): boolean {
    if (send.sequence !== route.last - 1) return false;
    const after = route.known.get(route.last)?.lastT ?? 0;
    const found = route.outages.findIndex(({ from, to }) => to >= after && from <= send.tAt);
    if (found < 0) return false;
    route.outages.splice(0, found + 1);
    this.stepsBack += 1;
    return true;
  }

  #mayRewind(route: Route, send: Send): boolean {
    if (this.#mayStepBack(route, send)) return true;
    // A loss that is over for longest explains it best.
    const old = route.losses.findIndex((loss) => loss.at + LEASE_MS <= send.tAt);
    const [loss] = route.losses.splice(Math.max(0, old), 1);
    if (loss !== undefined) {
      this.rewinds += 1;
      return true;
    }
    // Stale: it began before its successor was there. Else somebody began it anew.
    const later = route.known.get(send.sequence + 1);
    const stale = later !== undefined && send.connectedAt < later.countedAt;
    this.#findings.add(
      stale ? 'stale' : 'badRepeats',
      `${describe(send)} came after ${route.last} (highest ${route.max}) without a loss of Redis`,
    );
    return false;
  }

  /** Whoever sends a lease after a loss has an open route: it will not go back for that loss. */
  #settle(route: Route, send: Send): void {
    route.losses = route.losses.filter((loss) => loss.at + LEASE_MS > send.tAt);
  }

  #remember(route: Route, send: Send): void {
    const known = route.known.get(send.sequence);
    if (known === undefined) {
      this.batches += 1;
      this.bytes += send.bytes;
      route.known.set(send.sequence, {
        sha256: send.sha256,
        runs: send.runs,
        countedAt: send.tAt,
        lastT: send.tAt,
      });
      return;
    }
    known.lastT = send.tAt;
    if (known.sha256 !== send.sha256) {
      this.#findings.add('torn', `${describe(send)} had another content before`);
    }
  }

  #route(journal: string): Route {
    const route = this.#routes.get(journal);
    if (route === undefined) throw new Error(`no journal ${journal}`);
    return route;
  }
}

export function describe(send: Send): string {
  const run = send.runs.map(({ first, last }) => `${first}-${last}`).join(' ');
  return `${send.journal} sequence ${send.sequence} (previous ${send.previous}, ${send.bytes} bytes, records ${run}, connection ${send.connection} from ${seconds(send.connectedAt)}, payload from ${seconds(send.startedAt)}, T at ${seconds(send.tAt)})`;
}
