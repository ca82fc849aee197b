import type { Logger } from 'pino';
import { audit } from '../common/audit.js';
import { crashPoint } from '../common/crashPoints.js';
import { FerryError } from '../common/errors.js';
import { routeName } from '../common/identity.js';
import type { FerryConfig, JournalConfig, RouteTarget } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import type { BatchJob } from '../queue/jobs.js';
import type { PayloadStore } from '../queue/payload/payloadStore.js';
import { LEASE_MS } from '../queue/routeOrder.js';
import type { RouteState } from '../queue/routeState.js';
import { wakeHead } from '../queue/wake.js';
import { agrees, chainsAgree, confirmedBefore, openingOf, placeOf } from './agreement.js';
import type { BatchStore, StoredBatch } from './batchStore.js';
import { finishSkips } from './giveUp.js';
import { Placing } from './placing.js';
import { finishReplay } from './replay.js';
import { removeJobs, retireRoute } from './retire.js';
import type { Spool } from './spool/spool.js';
import type { RouteMark } from './spool/types.js';

/** Where a replay leaves batches out, each of them is a round; the next step goes on. */
const ROUNDS_PER_STEP = 4;

/** Batches that one step hands to Redis before it looks at its head again. */
const FEED_AT_ONCE = 64;

export interface RouteFeedParts {
  config: FerryConfig;
  journal: JournalConfig;
  target: RouteTarget;
  spool: Spool;
  store: BatchStore;
  access: QueueAccess;
  payloads: PayloadStore;
  /** Streams that this journal had before, in this process: shared by its routes. */
  formerStreams: Set<string>;
  log: Logger;
  /** Called when a new generation begins: what the route had in Redis is gone. */
  onReset: () => void;
}

/**
 * Brings one route of a journal from the spool into Redis, and its acks back.
 *
 *     closed --open: as we left it--> open
 *     closed --open: lost, rewound--> generation + 1, one lease of waiting --> open
 *     open   --replay: begins, leaves one out, ends--> generation + 1 --> open
 *     closed --open: ahead of the spool, or foreign--> new stream --> closed
 *     open   --another Redis run, or a script says "closed"--> closed
 *
 * The spool is the truth. Redis is believed as far as it agrees with the spool.
 */
export class RouteFeed {
  readonly route: string;
  readonly destination: string;
  readonly #p: RouteFeedParts;
  /** The Redis run this route is open for; null: closed. */
  #openFor: string | null = null;
  #openedOnce = false;
  #saidDraining = false;
  /** That of the spool when Redis was opened, or found to agree. */
  #generation = 0;
  #head = 0;
  #tail = 0;
  #queuedBytes = new Map<number, number>();
  #waitsForMemory = false;
  /** Null: not looked at since the start. */
  #isBlocked: boolean | null = null;
  #chainDiffers = false;
  readonly #placing: Placing;

  constructor(parts: RouteFeedParts) {
    this.#p = parts;
    this.#placing = new Placing(parts);
    this.destination = parts.target.destination;
    this.route = routeName(parts.journal.name, this.destination);
  }

  get isOpen(): boolean {
    return this.#openFor !== null && this.#openFor === this.#p.access.scripts.facts?.runId;
  }

  /** Everything captured is confirmed, and nothing is being replayed. */
  get isIdle(): boolean {
    const { acked, replay } = this.#mark();
    return replay === null && acked >= this.#p.spool.lastSequence;
  }

  /** Batches behind the head stay in the spool, because Redis has no memory for them. */
  get waitsForMemory(): boolean {
    return this.#waitsForMemory;
  }

  /** As Redis said at the last step: `attempts` are used up. */
  get isBlocked(): boolean {
    return this.#isBlocked === true;
  }

  /** Its worker says it when it happens. A start must not leave it at that. */
  #noteBlocked(state: RouteState | null): void {
    const sequence = state?.blocked ?? null;
    if (sequence !== null && this.#isBlocked === null) {
      this.#p.log.error(
        { route: this.route, sequence, lastError: state?.error?.code },
        'the route is still blocked; commits gather safely until somebody says: ferry replay ROUTE, or gives the batch up: ferry skip ROUTE SEQ --reason TEXT',
      );
    }
    this.#isBlocked = sequence !== null;
  }

  /** Redis has chained the digests of what is confirmed to another end than the spool. */
  get chainDiffers(): boolean {
    return this.#chainDiffers;
  }

  /** Looks again at the next step, whatever Redis said before. */
  close(): void {
    this.#openFor = null;
  }

  /**
   * Makes sure that the route is open for the present Redis run, takes over its acks, and feeds
   * what there is room for.
   *
   * @throws FerryError REDIS_AWAY; ROUTE_CONTESTED when another producer opened it under us
   */
  async step(): Promise<void> {
    // Redis would look as if it had lost the ack of what the operator gave up.
    if (!(await finishSkips(this.#p, this.destination))) return;
    // More than once: taking over and feeding may find out that it has to be opened anew.
    for (let round = 0; round < ROUNDS_PER_STEP; round += 1) {
      const state = await this.#p.access.order.state(this.route);
      this.#noteBlocked(state);
      if (!this.isOpen || !this.#agrees(state)) await this.#open(state);
      else if (this.#receiverIsAhead(state)) await this.#leaveStream(state);
      else await this.#takeOver(state);
      if (!this.isOpen) return;
      await finishReplay(this.#p, this.destination);
      if (await this.#feed()) return;
      this.close();
    }
  }

  /** More of what was captured may be handed to Redis now, as far as is known. */
  get hasRoom(): boolean {
    if (!this.isOpen || this.#waitsForMemory) return true;
    const ahead = this.#tail - this.#head + 1;
    return this.#tail < this.#p.spool.lastSequence && ahead < this.#p.journal.limits.ahead;
  }

  /**
   * Hands what was captured to Redis, which says by itself when it has lost the route: then that is
   * opened anew, as in `step`.
   *
   * @throws FerryError as `step`
   */
  async feed(): Promise<void> {
    if (this.isOpen && (await this.#feed())) return;
    this.close();
    await this.step();
  }

  /** The head may sleep although it ought to run; see `wakeHead`. */
  async wake(): Promise<void> {
    await wakeHead(this.#p.access.order, this.#p.access.queues, this.route);
  }

  #mark(): RouteMark {
    const mark = this.#p.spool.route(this.destination);
    if (mark === undefined) {
      throw new FerryError('ROUTE_UNKNOWN', `route ${this.route} is not in the spool`, {
        kind: 'internal',
      });
    }
    return mark;
  }

  /** Also: it is open for the present Redis run. */
  #agrees(state: RouteState | null): state is RouteState {
    const { spool, access } = this.#p;
    return agrees(spool, this.#mark(), state) && state.run === access.scripts.facts?.runId;
  }

  /**
   * The receiver holds other bytes under the number of our head: it is ahead of a spool that was
   * restored from an older copy, and numbers prove nothing any more.
   */
  #receiverIsAhead(state: RouteState): boolean {
    // In a replay it is the operator's to find out: a new stream would end it in the middle.
    if (this.#mark().replay !== null) return false;
    return state.error?.code === 'IDENTITY_REFUSED' && state.error.reason === 'digest-mismatch';
  }

  async #leaveStream(state: RouteState): Promise<void> {
    await this.#audit('new-stream', { head: state.head, refused: state.error?.reason });
    this.#p.log.error(
      { route: this.route, head: state.head },
      'the receiver holds other bytes under this number: the state directory was restored from an older copy; the journal goes on as a new stream',
    );
    await this.#newStream();
    await this.#reset(state, this.#p.access.scripts.runId(), 0);
  }

  async #open(state: RouteState | null): Promise<void> {
    const { spool, access, formerStreams } = this.#p;
    const { runId } = await access.scripts.ready();
    this.#openFor = null;
    const known = { openedOnce: this.#openedOnce, formerStreams };
    const opening = openingOf(spool, this.#mark(), state, runId, known);
    if (opening === 'contested') throw contested(this.route);
    if (state !== null && opening === 'resume') return this.#resume(state, runId);
    if (opening === 'jumped') return this.#reset(state, runId, 0);
    if (state !== null && opening === 'foreign') {
      if (await this.#leftToDrain(state)) return;
      const { stream: foreign, head, tail } = state;
      await this.#audit('foreign-stream', { foreign, head, tail });
    }
    if (state !== null && opening === 'ahead') await this.#leaveOlderSpool(state);
    // A worker with the older configuration may have begun a moment ago: its lease is waited out.
    const isRenamed = state === null && (await this.#takeOverFormerNames());
    if (opening === 'first' && !isRenamed) return this.#reset(null, runId, 0);
    if (opening === 'lost' && !isRenamed) await this.#sayLost(state);
    await this.#reset(state, runId, LEASE_MS);
  }

  /** The state directory is older than what Redis has seen. */
  async #leaveOlderSpool({ head, tail }: RouteState): Promise<void> {
    await this.#audit('new-stream', { head, tail, last: this.#p.spool.lastSequence });
    this.#p.log.error(
      { route: this.route },
      'Redis is ahead of the spool: the state directory was restored from an older copy; the journal goes on as a new stream',
    );
    await this.#newStream();
  }

  async #sayLost(state: RouteState | null): Promise<void> {
    const mark = this.#mark();
    const { acked } = placeOf(mark);
    const { head = null, tail = null } = state ?? {};
    await this.#audit('redis-loss', { acked, accepted: mark.accepted, head, tail });
    this.#p.log.warn(
      { route: this.route, from: acked + 1 },
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
    const { config, journal, spool } = this.#p;
    let found = false;
    for (const was of config.destinations.get(this.destination)?.was ?? []) {
      if (spool.route(was) !== undefined) continue; // another route by now
      if (await retireRoute(this.#p, journal.name, was, this.destination)) found = true;
    }
    return found;
  }

  async #newStream(): Promise<void> {
    this.#p.formerStreams.add(this.#p.spool.stream);
    await this.#p.spool.newStream();
  }

  /** The hash is as we left it; only the Redis run may be another. */
  async #resume(state: RouteState, runId: string): Promise<void> {
    const { access, journal, spool } = this.#p;
    const facts = await access.scripts.ready();
    // Last writes that were lost may have been a lease that is still believed. One look at the
    // present server is not enough: a promoted replica may stand there alone and sync always.
    const mayHaveLost = facts.mayLose || state.mayLose;
    const waitMs = state.run !== runId && mayHaveLost ? LEASE_MS : 0;
    await this.#recordAck(state.head - 1);
    // A replay has jumped with that.
    if (this.#mark().generation !== state.generation) return this.#reset(state, runId, waitMs);
    await this.#compareChains(state);
    const answer = await access.order.open({
      route: this.route,
      stream: spool.stream,
      generation: state.generation,
      waitMs,
      intervalMs: journal.intervalMs,
      maxAttempts: journal.attempts,
      chain: this.#mark().chain,
    });
    if (answer.is !== 'open') return; // changed under us: the next step looks again
    await this.#opened(runId, answer.head, answer.tail);
    await this.wake();
  }

  /**
   * A new generation, from the last recorded ack on; what is left of the old one goes away.
   * Redis may have owed the far side the last confirmed batch once more, since a connection had
   * failed after it. Nobody knows any more, so that one goes out again before the head.
   */
  async #reset(state: RouteState | null, runId: string, waitMs: number): Promise<void> {
    const { access, journal, spool } = this.#p;
    // What Redis still knows to be confirmed need not be sent again.
    const same = state?.stream === spool.stream && state.generation === this.#mark().generation;
    if (same && state.head - 1 <= spool.lastSequence) await this.#recordAck(state.head - 1);
    if (same) await this.#compareChains(state);
    const generation = Math.max(this.#mark().generation, state?.generation ?? 0) + 1;
    await spool.recordGeneration(this.destination, generation);
    const mark = this.#mark();
    const place = placeOf(mark);
    if (state !== null) await removeJobs(this.#p, this.route, state);
    this.#p.onReset();
    // Nothing is owed behind a jump: it comes after an ack, or after the operator's word.
    const jumped = state?.stream === spool.stream && !same && state.run === runId;
    const repeat = jumped ? undefined : await this.#owedRepeat(mark);
    const answer = await access.order.open({
      route: this.route,
      stream: spool.stream,
      generation,
      waitMs,
      intervalMs: journal.intervalMs,
      maxAttempts: journal.attempts,
      paused: mark.paused,
      // What is replayed is in the spool's chain already.
      chain: mark.replay === null ? mark.chain : null,
      reset: { head: place.acked + 1, previous: place.previous, ...(repeat && { repeat }) },
    });
    if (answer.is !== 'open') return;
    if (mark.replay !== null) {
      const { from, to } = mark.replay;
      crashPoint('replay.opened');
      this.#p.log.info({ route: this.route, from, to, next: place.acked + 1 }, 'replaying');
    }
    await this.#opened(runId, answer.head, answer.tail);
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

  async #opened(runId: string, head: number, tail: number): Promise<void> {
    this.#openFor = runId;
    this.#openedOnce = true;
    this.#generation = this.#mark().generation;
    this.#queuedBytes.clear();
    this.#head = head;
    this.#tail = tail;
    for (let seq = head; seq <= tail; seq += 1) {
      this.#queuedBytes.set(seq, (await this.#p.store.batch(seq))?.bytes ?? 0);
    }
    await this.#recordAck(head - 1);
  }

  /** The spool hears of it; of a replay also how much that was. */
  async #recordAck(sequence: number): Promise<void> {
    const { replay } = this.#mark();
    let replayed = 0;
    for (let seq = (replay?.acked ?? sequence) + 1; seq <= sequence; seq += 1) {
      if (replay !== null && seq <= replay.to) {
        replayed += this.#queuedBytes.get(seq) ?? (await this.#p.store.batch(seq))?.bytes ?? 0;
      }
    }
    await this.#p.spool.recordAck(this.destination, sequence, replayed);
    if (replay === null || this.#mark().replay !== null) return;
    this.#p.log.info({ route: this.route, from: replay.from, to: replay.to }, 'replayed');
  }

  /** Writes down in the spool how far the route has come, and what the operator said meanwhile. */
  async #takeOver(state: RouteState): Promise<void> {
    if (state.paused !== this.#mark().paused) {
      await this.#p.spool.recordVerdict(this.destination, {
        kind: state.paused ? 'pause' : 'resume',
      });
    }
    if (state.head - 1 > placeOf(this.#mark()).acked) {
      await this.#recordAck(state.head - 1);
      crashPoint('producer.ackRecorded');
    }
    for (let seq = this.#head; seq < state.head; seq += 1) this.#queuedBytes.delete(seq);
    this.#head = state.head;
    this.#tail = state.tail;
    await this.#compareChains(state);
  }

  /**
   * What the workers have chained, digest by digest, must end where the spool's own chain ends.
   * Said once; the spool is believed, and from the next start on Redis goes on from its chain.
   */
  async #compareChains(state: RouteState): Promise<void> {
    const mark = this.#mark();
    if (this.#chainDiffers || chainsAgree(mark, state) !== false) return;
    this.#chainDiffers = true;
    const { route } = this;
    const context = { route, through: mark.chain.through };
    const detail = { ...context, spool: mark.chain.head, redis: state.chain?.head };
    await this.#audit('chain-differs', detail);
    const err = new FerryError('CHAIN_DIFFERS', `spool and Redis disagree about ${route}`, {
      kind: 'storage',
      hint: `ferry verify ${route} prints a line that shows at the receiver which is right`,
      context,
    });
    this.#p.log.error({ err, ...detail }, 'what Redis says was confirmed is not what was captured');
  }

  /** @returns false when the route has to be opened anew */
  async #feed(): Promise<boolean> {
    const { spool, access } = this.#p;
    this.#waitsForMemory = false;
    for (;;) {
      // What was taken over may have ended a replay, or led to a batch that it leaves out.
      if (this.#mark().generation !== this.#generation) return false;
      const fresh: { job: BatchJob; parked: boolean }[] = [];
      while (fresh.length < FEED_AT_ONCE) {
        const batch = await this.#next();
        if (batch === undefined) break;
        const job = await this.#placing.place(batch, {
          generation: this.#mark().generation,
          urgent: this.#tail < this.#head,
        });
        this.#waitsForMemory = job === null;
        if (job === null) break;
        crashPoint('feed.uploaded');
        const answer = await access.order.accept(job);
        if (answer.is !== 'accepted' && answer.is !== 'duplicate') {
          if (answer.is === 'conflict') await this.#newStream();
          return false;
        }
        crashPoint('feed.accepted');
        this.#tail = batch.sequence;
        this.#queuedBytes.set(batch.sequence, batch.bytes);
        fresh.push({ job, parked: answer.head !== batch.sequence });
      }
      if (fresh.length === 0) return true;
      await access.queues.addBatches(fresh);
      crashPoint('feed.queued');
      await spool.recordAccepted(this.destination, this.#tail);
      // A parked one may have become the head before its job was there to be promoted.
      const state = await access.order.state(this.route);
      if (state === null) return false;
      const head = fresh.find(({ job, parked }) => parked && job.sequence === state.head);
      if (head !== undefined) await access.queues.wakeBatch(head.job);
      await this.#takeOver(state);
    }
  }

  /** The next batch that Redis is to have, if there is room for it. */
  async #next(): Promise<StoredBatch | undefined> {
    const { spool, store, journal } = this.#p;
    const last = placeOf(this.#mark()).through ?? spool.lastSequence;
    if (this.#tail >= last) return undefined;
    const isHead = this.#tail < this.#head; // it always has room
    if (!isHead && this.#tail - this.#head + 1 >= journal.limits.ahead) return undefined;
    const batch = await store.batch(this.#tail + 1);
    if (batch === undefined || isHead) return batch;
    let queued = batch.bytes;
    for (const bytes of this.#queuedBytes.values()) queued += bytes;
    return queued <= journal.limits.queuedBytes ? batch : undefined;
  }

  /**
   * A state directory was lost, but Redis still holds payload of the stream before: those are
   * the only copies, so they are delivered first.
   */
  async #leftToDrain(state: RouteState): Promise<boolean> {
    const { access, journal } = this.#p;
    if (state.head > state.tail) return false;
    const head = await access.order.accepted(this.route, state.head);
    if (head?.payload.kind !== 'chunks') return false;
    const facts = await access.scripts.ready();
    if (state.run !== facts.runId) {
      await access.order.open({
        route: this.route,
        stream: state.stream,
        generation: state.generation,
        waitMs: LEASE_MS,
        intervalMs: journal.intervalMs,
        maxAttempts: journal.attempts,
      });
      await this.wake();
    }
    if (!this.#saidDraining) {
      this.#saidDraining = true;
      this.#p.log.warn(
        { route: this.route, batches: state.tail - state.head + 1 },
        'Redis holds batches of a stream whose spool is gone; they are delivered first',
      );
    }
    return true;
  }

  async #audit(
    event: 'redis-loss' | 'new-stream' | 'foreign-stream' | 'chain-differs',
    detail: Record<string, unknown>,
  ): Promise<void> {
    await audit(this.#p.config.stateDir, { event, route: this.route, detail });
  }
}

function contested(route: string): FerryError {
  return new FerryError('ROUTE_CONTESTED', `another producer took over route ${route}`, {
    kind: 'redis',
    hint: 'two producers have a journal of this name in one Redis: rename one, or give it another redis prefix',
    context: { route },
  });
}
