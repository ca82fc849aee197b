import { crashPoint } from '../common/crashPoints.js';
import { routeName } from '../common/identity.js';
import type { BatchJob } from '../queue/jobs.js';
import type { RouteState } from '../queue/routeState.js';
import { wakeHead } from '../queue/wake.js';
import { agrees, placeOf } from './agreement.js';
import type { StoredBatch } from './batchStore.js';
import { finishSkips } from './giveUp.js';
import { Placing } from './placing.js';
import { finishReplay } from './replay.js';
import { type Opened, RouteOpening, type RouteParts } from './routeOpening.js';
import { RouteRecord } from './routeRecord.js';

/** Where a replay leaves batches out, each of them is a round; the next step goes on. */
const ROUNDS_PER_STEP = 4;

/** Batches that one step hands to Redis before it looks at its head again. */
const FEED_AT_ONCE = 64;

interface Accepted {
  job: BatchJob;
  /** It waits behind the head. */
  parked: boolean;
}

/**
 * Brings one route of a journal from the spool into Redis, and its acks back.
 *
 *     closed --opening: spool and Redis agree--> open
 *     open   --another Redis run, or a script says "closed"--> closed
 *     open   --a replay begins, leaves one out, ends--> closed
 */
export class RouteFeed {
  readonly route: string;
  readonly destination: string;
  readonly #p: RouteParts;
  /** The Redis run this route is open for; null: closed. */
  #openFor: string | null = null;
  /** That of the spool when Redis was opened, or found to agree. */
  #generation = 0;
  #head = 0;
  #tail = 0;
  #queuedBytes = new Map<number, number>();
  #waitsForMemory = false;
  /** Null: not looked at since the start. */
  #isBlocked: boolean | null = null;
  readonly #record: RouteRecord;
  readonly #placing: Placing;
  readonly #opening: RouteOpening;

  constructor(parts: RouteParts) {
    this.#p = parts;
    this.destination = parts.target.destination;
    this.route = routeName(parts.journal.name, this.destination);
    this.#record = new RouteRecord(parts, this.route, this.destination);
    this.#placing = new Placing(parts);
    this.#opening = new RouteOpening(parts, this.#record, this.#placing);
  }

  get isOpen(): boolean {
    return this.#openFor !== null && this.#openFor === this.#p.access.scripts.facts?.runId;
  }

  /** Everything captured is confirmed, and nothing is being replayed. */
  get isIdle(): boolean {
    const { acked, replay } = this.#record.mark;
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
    return this.#record.chainDiffers;
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
      if (!this.isOpen || !this.#agrees(state)) {
        await this.#open(() => this.#opening.open(state));
      } else if (this.#receiverIsAhead(state)) {
        await this.#open(() => this.#opening.leaveStream(state));
      } else await this.#takeOver(state);
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

  /** Also: it is open for the present Redis run. */
  #agrees(state: RouteState | null): state is RouteState {
    const { spool, access } = this.#p;
    if (state === null || state.run !== access.scripts.facts?.runId) return false;
    return agrees(spool, this.#record.mark, state);
  }

  /**
   * The receiver holds other bytes under the number of our head: it is ahead of a spool that was
   * restored from an older copy, and numbers prove nothing any more.
   */
  #receiverIsAhead(state: RouteState): boolean {
    // In a replay it is the operator's to find out: a new stream would end it in the middle.
    if (this.#record.mark.replay !== null) return false;
    return state.error?.code === 'IDENTITY_REFUSED' && state.error.reason === 'digest-mismatch';
  }

  async #open(opening: () => Promise<Opened | null>): Promise<void> {
    this.#openFor = null;
    const opened = await opening();
    if (opened === null) return;
    const { runId, head, tail, resumed } = opened;
    this.#openFor = runId;
    this.#generation = this.#record.mark.generation;
    this.#queuedBytes.clear();
    this.#head = head;
    this.#tail = tail;
    for (let seq = head; seq <= tail; seq += 1) {
      this.#queuedBytes.set(seq, (await this.#p.store.batch(seq))?.bytes ?? 0);
    }
    await this.#record.recordAck(head - 1);
    if (resumed) await this.wake();
  }

  /** Writes down in the spool how far the route has come, and what the operator said meanwhile. */
  async #takeOver(state: RouteState): Promise<void> {
    if (state.paused !== this.#record.mark.paused) {
      await this.#p.spool.recordVerdict(this.destination, {
        kind: state.paused ? 'pause' : 'resume',
      });
    }
    if (state.head - 1 > placeOf(this.#record.mark).acked) {
      await this.#record.recordAck(state.head - 1, this.#queuedBytes);
      crashPoint('producer.ackRecorded');
    }
    for (let seq = this.#head; seq < state.head; seq += 1) this.#queuedBytes.delete(seq);
    this.#head = state.head;
    this.#tail = state.tail;
    await this.#record.compareChains(state);
  }

  /** @returns false when the route has to be opened anew */
  async #feed(): Promise<boolean> {
    const { spool, access } = this.#p;
    this.#waitsForMemory = false;
    for (;;) {
      // What was taken over may have ended a replay, or led to a batch that it leaves out.
      if (this.#record.mark.generation !== this.#generation) return false;
      const fresh: Accepted[] = [];
      const stillOpen = await this.#accept(fresh).catch(async (error: unknown) => {
        // Those before it would wait until somebody looks for lost jobs.
        if (fresh.length > 0) await access.queues.addBatches(fresh);
        throw error;
      });
      if (!stillOpen) return false;
      if (fresh.length === 0) return true;
      await access.queues.addBatches(fresh);
      crashPoint('feed.queued');
      await spool.recordAccepted(this.destination, this.#tail);
      if (!fresh.some(({ parked }) => parked)) continue;
      // A parked one may have become the head before its job was there to be promoted.
      const state = await access.order.state(this.route);
      if (state === null) return false;
      const head = fresh.find(({ job, parked }) => parked && job.sequence === state.head);
      if (head !== undefined) await access.queues.wakeBatch(head.job);
      await this.#takeOver(state);
    }
  }

  /**
   * Has Redis accept what there is room for, one after the other.
   *
   * @param accepted they are added to it, so that none is forgotten when a later one fails
   * @returns false when the route has to be opened anew
   */
  async #accept(accepted: Accepted[]): Promise<boolean> {
    while (accepted.length < FEED_AT_ONCE) {
      const batch = await this.#next();
      if (batch === undefined) break;
      const job = await this.#placing.place(batch, {
        generation: this.#record.mark.generation,
        urgent: this.#tail < this.#head,
      });
      this.#waitsForMemory = job === null;
      if (job === null) break;
      crashPoint('feed.uploaded');
      const answer = await this.#p.access.order.accept(job);
      if (answer.is !== 'accepted' && answer.is !== 'duplicate') {
        if (answer.is === 'conflict') await this.#opening.newStream();
        return false;
      }
      crashPoint('feed.accepted');
      this.#tail = batch.sequence;
      this.#queuedBytes.set(batch.sequence, batch.bytes);
      accepted.push({ job, parked: answer.head !== batch.sequence });
    }
    return true;
  }

  /** The next batch that Redis is to have, if there is room for it. */
  async #next(): Promise<StoredBatch | undefined> {
    const { spool, store, journal } = this.#p;
    const last = placeOf(this.#record.mark).through ?? spool.lastSequence;
    if (this.#tail >= last) return undefined;
    const isHead = this.#tail < this.#head; // it always has room
    if (!isHead && this.#tail - this.#head + 1 >= journal.limits.ahead) return undefined;
    const batch = await store.batch(this.#tail + 1);
    if (batch === undefined || isHead) return batch;
    let queued = batch.bytes;
    for (const bytes of this.#queuedBytes.values()) queued += bytes;
    return queued <= journal.limits.queuedBytes ? batch : undefined;
  }
}
