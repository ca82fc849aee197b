import type { Logger } from 'pino';
import { crashPoint } from '../common/crashPoints.js';
import { FerryError } from '../common/errors.js';
import type { BatchJob } from '../queue/jobs.js';
import { LEASE_MS } from '../queue/routeOrder.js';
import type { RouteState } from '../queue/routeState.js';
import { wakeHead } from '../queue/wake.js';
import { confirmedBefore, openingOf, placeOf } from './agreement.js';
import type { Placing, PlacingParts } from './placing.js';
import { removeJobs, retireRoute } from './retire.js';
import type { RouteRecord } from './routeRecord.js';
import type { RouteMark } from './spool/types.js';

export interface RouteParts extends PlacingParts {
  /** Streams that this journal had before, in this process: shared by its routes. */
  formerStreams: Set<string>;
  log: Logger;
  /** Called when a new generation begins: what the route had in Redis is gone. */
  onReset: () => void;
}

/** A route that is open: for which Redis run, and what of it is there. */
export interface Opened {
  runId: string;
  /** First sequence that is not confirmed. */
  head: number;
  /** Last one that Redis has; `head` - 1: none. */
  tail: number;
  /** It was there before: its head may sleep although it ought to run. */
  resumed: boolean;
}

/**
 * Brings Redis and the spool to agree about one route, so that it can be fed.
 *
 *     as we left it --> open
 *     lost, rewound --> generation + 1, one lease of waiting --> open
 *     a replay begins, leaves a batch out, ends --> generation + 1 --> open
 *     ahead of the spool --> new stream --> open
 *     foreign --> what only Redis has is delivered first --> open
 *
 * The spool is the truth. Redis is believed as far as it agrees with the spool.
 */
export class RouteOpening {
  readonly #p: RouteParts;
  readonly #record: RouteRecord;
  readonly #placing: Placing;
  #openedOnce = false;
  #saidDraining = false;

  constructor(parts: RouteParts, record: RouteRecord, placing: Placing) {
    this.#p = parts;
    this.#record = record;
    this.#placing = placing;
  }

  /**
   * @param state what Redis says of the route; null: nothing
   * @returns null: not yet, the next step looks again
   * @throws FerryError REDIS_AWAY; ROUTE_CONTESTED when another producer opened it under us
   */
  async open(state: RouteState | null): Promise<Opened | null> {
    const { spool, access, formerStreams } = this.#p;
    const record = this.#record;
    const { runId } = await access.scripts.ready();
    const known = { openedOnce: this.#openedOnce, formerStreams };
    const opening = openingOf(spool, record.mark, state, runId, known);
    if (opening === 'contested') throw contested(record.route);
    if (state !== null && opening === 'resume') return this.#resume(state, runId);
    if (opening === 'jumped') return this.#reset(state, runId, 0);
    if (state !== null && opening === 'foreign') {
      if (await this.#leftToDrain(state)) return null;
      const { stream: foreign, head, tail } = state;
      await record.audit('foreign-stream', { foreign, head, tail });
    }
    if (state !== null && opening === 'ahead') await this.#leaveOlderSpool(state);
    // A worker with the older configuration may have begun a moment ago: its lease is waited out.
    const isRenamed = state === null && (await this.#takeOverFormerNames());
    if (opening === 'first' && !isRenamed) return this.#reset(null, runId, 0);
    if (opening === 'lost' && !isRenamed) await this.#sayLost(state);
    return this.#reset(state, runId, LEASE_MS);
  }

  /** The receiver is ahead: the journal goes on as a stream that it has not seen. */
  async leaveStream(state: RouteState): Promise<Opened | null> {
    const { head, error } = state;
    await this.#record.audit('new-stream', { head, refused: error?.reason });
    this.#p.log.error(
      { route: this.#record.route, head },
      'the receiver holds other bytes under this number: the state directory was restored from an older copy; the journal goes on as a new stream',
    );
    await this.newStream();
    return this.#reset(state, this.#p.access.scripts.runId(), 0);
  }

  /** All routes of the journal go on in a stream that nobody has seen. */
  async newStream(): Promise<void> {
    this.#p.formerStreams.add(this.#p.spool.stream);
    await this.#p.spool.newStream();
  }

  /** The state directory is older than what Redis has seen. */
  async #leaveOlderSpool({ head, tail }: RouteState): Promise<void> {
    await this.#record.audit('new-stream', { head, tail, last: this.#p.spool.lastSequence });
    this.#p.log.error(
      { route: this.#record.route },
      'Redis is ahead of the spool: the state directory was restored from an older copy; the journal goes on as a new stream',
    );
    await this.newStream();
  }

  async #sayLost(state: RouteState | null): Promise<void> {
    const { route, mark } = this.#record;
    const { acked } = placeOf(mark);
    const { head = null, tail = null } = state ?? {};
    await this.#record.audit('redis-loss', { acked, accepted: mark.accepted, head, tail });
    this.#p.log.warn(
      { route, from: acked + 1 },
      'Redis lost this route; everything since the last recorded ack is sent again, in order',
    );
  }

  /**
   * A destination that was renamed: what Redis holds under its former name goes away, because
   * workers do not know that name any more.
   *
   * @returns false when there was nothing of the kind
   */
  async #takeOverFormerNames(): Promise<boolean> {
    const { config, journal, spool, target } = this.#p;
    let found = false;
    for (const was of config.destinations.get(target.destination)?.was ?? []) {
      if (spool.route(was) !== undefined) continue; // another route by now
      if (await retireRoute(this.#p, journal.name, was, target.destination)) found = true;
    }
    return found;
  }

  /** The hash is as we left it; only the Redis run may be another. */
  async #resume(state: RouteState, runId: string): Promise<Opened | null> {
    const { access, spool } = this.#p;
    const record = this.#record;
    const facts = await access.scripts.ready();
    // Last writes that were lost may have been a lease that is still believed. One look at the
    // present server is not enough: a promoted replica may stand there alone and sync always.
    const mayHaveLost = facts.mayLose || state.mayLose;
    const waitMs = state.run !== runId && mayHaveLost ? LEASE_MS : 0;
    await record.recordAck(state.head - 1);
    // A replay has jumped with that.
    if (record.mark.generation !== state.generation) return this.#reset(state, runId, waitMs);
    await record.compareChains(state);
    const answer = await access.order.open({
      ...this.#terms(spool.stream, state.generation),
      waitMs,
      chain: record.mark.chain,
    });
    if (answer.is !== 'open') return null; // changed under us
    return this.#opened(runId, answer, true);
  }

  /**
   * A new generation, from the last recorded ack on; what is left of the old one goes away.
   * Redis may have owed the far side the last confirmed batch once more, since a connection had
   * failed after it. Nobody knows any more, so that one goes out again before the head.
   */
  async #reset(state: RouteState | null, runId: string, waitMs: number): Promise<Opened | null> {
    const { access, spool, target } = this.#p;
    const record = this.#record;
    // What Redis still knows to be confirmed need not be sent again.
    const same = state?.stream === spool.stream && state.generation === record.mark.generation;
    if (same && state.head - 1 <= spool.lastSequence) await record.recordAck(state.head - 1);
    if (same) await record.compareChains(state);
    const generation = Math.max(record.mark.generation, state?.generation ?? 0) + 1;
    await spool.recordGeneration(target.destination, generation);
    const mark = record.mark;
    const place = placeOf(mark);
    if (state !== null) await removeJobs(this.#p, record.route, state);
    this.#p.onReset();
    // Nothing is owed behind a jump: it comes after an ack, or after the operator's word.
    const jumped = state?.stream === spool.stream && !same && state.run === runId;
    const repeat = jumped ? undefined : await this.#owedRepeat(mark);
    const answer = await access.order.open({
      ...this.#terms(spool.stream, generation),
      waitMs,
      paused: mark.paused,
      // What is replayed is in the spool's chain already.
      chain: mark.replay === null ? mark.chain : null,
      reset: { head: place.acked + 1, previous: place.previous, ...(repeat && { repeat }) },
    });
    if (answer.is !== 'open') return null;
    if (mark.replay !== null) {
      const { from, to } = mark.replay;
      crashPoint('replay.opened');
      this.#p.log.info({ route: record.route, from, to, next: place.acked + 1 }, 'replaying');
    }
    return this.#opened(runId, answer, false);
  }

  /**
   * The last confirmed batch, to be confirmed once more. Not behind one that was given up: that
   * may have been applied, and an older one after it would be worse.
   */
  async #owedRepeat(mark: RouteMark): Promise<{ job: BatchJob; previous: number } | undefined> {
    const { acked, previous: last } = placeOf(mark);
    // What came before a replay was confirmed long ago, and by an older replica.
    const beforeReplay = mark.replay !== null && last < mark.replay.from;
    if (last === 0 || last !== acked || beforeReplay) return undefined;
    const confirmed = await this.#p.store.batch(last);
    if (confirmed === undefined) return undefined;
    const previous = confirmedBefore(mark, last);
    const { generation } = mark;
    const job = await this.#placing.place(confirmed, { generation, urgent: true });
    return { job, previous };
  }

  /**
   * A state directory was lost, but Redis still holds payload of the stream before: those are
   * the only copies, so they are delivered first.
   */
  async #leftToDrain(state: RouteState): Promise<boolean> {
    const { access } = this.#p;
    const { route } = this.#record;
    if (state.head > state.tail) return false;
    const head = await access.order.accepted(route, state.head);
    if (head?.payload.kind !== 'chunks') return false;
    const facts = await access.scripts.ready();
    if (state.run !== facts.runId) {
      await access.order.open({
        ...this.#terms(state.stream, state.generation),
        waitMs: LEASE_MS,
      });
      await wakeHead(access.order, access.queues, route);
    }
    if (!this.#saidDraining) {
      this.#saidDraining = true;
      this.#p.log.warn(
        { route, batches: state.tail - state.head + 1 },
        'Redis holds batches of a stream whose spool is gone; they are delivered first',
      );
    }
    return true;
  }

  /** What is said of a route whenever it is opened. */
  #terms(stream: string, generation: number) {
    const { intervalMs, attempts: maxAttempts } = this.#p.journal;
    return { route: this.#record.route, stream, generation, intervalMs, maxAttempts };
  }

  #opened(runId: string, { head, tail }: { head: number; tail: number }, resumed: boolean): Opened {
    this.#openedOnce = true;
    return { runId, head, tail, resumed };
  }
}

function contested(route: string): FerryError {
  return new FerryError('ROUTE_CONTESTED', `another producer took over route ${route}`, {
    kind: 'redis',
    hint: 'two producers have a journal of this name in one Redis: rename one, or give it another redis prefix',
    context: { route },
  });
}
