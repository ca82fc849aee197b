import { type Chain, extended } from '../common/chain.js';
import { crashPoint } from '../common/crashPoints.js';
import type { DestinationConfig } from '../config/model.js';
import { DelayedError, type Job, UnrecoverableError } from '../queue/bullmq.js';
import { PARK_MS } from '../queue/jobQueues.js';
import type { BatchJob } from '../queue/jobs.js';
import type { BeginAnswer } from '../queue/routeAnswers.js';
import { LEASE_MS } from '../queue/routeOrder.js';
import { promoteBlobs, promoteHead, wakeHead } from '../queue/wake.js';
import {
  type ActivationParts,
  CLOSED_PAUSE_MS,
  LOST_PAUSE_MS,
  rightToSend,
  sleepJob,
  tellRedis,
} from './activation.js';
import { attemptEnd } from './failure.js';
import type { Place } from './gate.js';
import { Lease } from './lease.js';
import type { Preconnection } from './preconnection.js';

/** What an activation has in hand once it may send. */
interface Attempt {
  job: Job<BatchJob>;
  token: string;
  destination: DestinationConfig;
  holder: string;
  lease: Lease;
  ahead: Preconnection | null;
  place: Place;
}

/**
 * One activation of a batch's job: from "BullMQ says run" to a verdict.
 *
 *     begin --go--> send --confirmed--> ack --> promote the successor --> completed
 *       |             |
 *       |             +--failed--> fail --> delayed by the interval | failed (blocked)
 *       |             +--lease lost, stopping--> delayed
 *       +--park, wait, closed--> delayed
 *       +--stale, delivered--> completed
 */
export class BatchProcessor {
  readonly #p: ActivationParts;
  #activations = 0;
  /** Routes whose last activation might not send: one that asks again and again must not knock each time. */
  readonly #refused = new Set<string>();

  constructor(parts: ActivationParts) {
    this.#p = parts;
  }

  /**
   * @param token BullMQ's lock on the job
   * @param place among the destination's connections; given back when the connection is over
   * @throws DelayedError, UnrecoverableError: BullMQ's words for "sleeps" and "failed"
   */
  async run(
    job: Job<BatchJob>,
    token: string,
    destination: DestinationConfig,
    place: Place,
  ): Promise<void> {
    const batch = job.data;
    const { order, delivery } = this.#p;
    this.#activations += 1;
    const holder = `${this.#p.workerId}.${this.#activations}`;
    const lease = new Lease({
      leaseMs: LEASE_MS,
      startedAt: performance.now(),
      renew: () => order.renew(batch, holder),
    });
    const ahead = this.#refused.has(batch.route)
      ? null
      : delivery.preconnect(destination, batch, lease.signal);
    const answer = await rightToSend(order.begin(batch, holder), lease, ahead);
    if (answer.is === 'go') this.#refused.delete(batch.route);
    else this.#refused.add(batch.route);
    switch (answer.is) {
      case 'go':
        return this.#attempt({ job, token, destination, holder, lease, ahead, place }, answer);
      case 'stale':
      case 'delivered':
        return;
      case 'closed':
        return sleepJob(job, token, CLOSED_PAUSE_MS);
      case 'wait':
        return sleepJob(job, token, answer.ms);
      case 'park':
        await job.moveToDelayed(Date.now() + PARK_MS, token);
        // Its turn may have come between the question and the parking.
        await wakeHead(this.#p.order, this.#p.queues, batch.route).catch(() => undefined);
        throw new DelayedError();
    }
  }

  async #attempt(
    { job, token, destination, holder, lease, ahead, place }: Attempt,
    go: Extract<BeginAnswer, { is: 'go' }>,
  ): Promise<void> {
    crashPoint('worker.begun');
    const batch = job.data;
    const { order, delivery, stop, log } = this.#p;
    const leaveStop = stop.enter(() => lease.abort());
    let repeating = go.repeat !== null;
    try {
      const mayConfirm = (): boolean => {
        crashPoint('worker.beforeT');
        return lease.isValid();
      };
      const rights = { mayConfirm, signal: lease.signal };
      if (go.repeat !== null) {
        log.info(
          { route: batch.route, sequence: go.repeat.job.sequence },
          'confirming the previous batch once more, since a connection failed after it',
        );
        const { job: before, previous } = go.repeat;
        await delivery.sendBatch(destination, before, previous, rights, ahead);
        await order.repeated(batch, holder);
        repeating = false;
      }
      const unused = go.repeat === null ? ahead : null;
      await delivery.sendBatch(destination, batch, go.previous, rights, unused);
      place.reached();
      place.leave();
      crashPoint('worker.confirmed');
      const chain = go.chain && extended(go.chain, batch.sequence, batch.sha256);
      await this.#acknowledge(batch, holder, chain);
    } catch (error) {
      lease.stop();
      return await this.#ended({ job, token, holder, place }, error, repeating);
    } finally {
      lease.stop();
      ahead?.drop();
      leaveStop();
    }
  }

  /** The batch is confirmed: its route moves on, and whatever waited for it is woken. */
  async #acknowledge(batch: BatchJob, holder: string, chain: Chain | null): Promise<void> {
    const { order, queues, log, stop } = this.#p;
    const answer = await tellRedis(stop, () => order.ack(batch, holder, chain));
    crashPoint('worker.acked');
    if (answer.is === 'stale') {
      log.warn(
        { route: batch.route, sequence: batch.sequence, head: answer.head },
        'the batch was confirmed, but its route was taken over meanwhile; it may be sent again',
      );
      return;
    }
    this.#p.meter.delivered(batch.route, batch);
    if (this.#p.complaints.isOver(batch.route)) {
      log.info({ route: batch.route, sequence: batch.sequence }, 'confirmed again');
    } else log.debug({ route: batch.route, sequence: batch.sequence }, 'confirmed');
    try {
      if (answer.head <= answer.tail) {
        await promoteHead(order, queues, {
          route: batch.route,
          generation: batch.generation,
          sequence: answer.head,
        });
      }
      await promoteBlobs(order, queues, answer.blobs);
    } catch (err) {
      log.debug({ err, route: batch.route }, 'not woken; the periodic check makes it good');
    }
    crashPoint('worker.promoted');
  }

  async #ended(
    { job, token, holder, place }: Pick<Attempt, 'job' | 'token' | 'holder' | 'place'>,
    error: unknown,
    repeating: boolean,
  ): Promise<void> {
    const batch = job.data;
    const { order, log, stop } = this.#p;
    const end = attemptEnd(error, stop.stopping);
    switch (end.is) {
      case 'redis-away':
        throw error; // BullMQ tries again; the lease runs out by itself
      case 'lost':
        log.warn(
          { route: batch.route, sequence: batch.sequence, err: error },
          'the send was ended',
        );
        return sleepJob(job, token, LOST_PAUSE_MS);
      case 'stopped':
        await order.release(batch, holder);
        return sleepJob(job, token, 0);
      case 'failed':
        break;
    }
    if (end.isAway) place.unreached();
    this.#p.meter.attemptFailed(batch.route, end.failure.error.code);
    // An answer to the repeat says nothing of the head, and not that the repeat was applied.
    const failure = repeating ? { ...end.failure, echoed: false, resend: true } : end.failure;
    const verdict = await order.fail(batch, holder, failure);
    if (verdict.is === 'stale') return sleepJob(job, token, LOST_PAUSE_MS);
    const facts = { route: batch.route, sequence: batch.sequence, attempts: verdict.attempts };
    if (verdict.is === 'blocked') {
      log.error(
        { ...facts, err: error },
        'the route is blocked: its batch ran out of attempts; commits gather safely until somebody says: ferry replay ROUTE, or gives the batch up: ferry skip ROUTE SEQ --reason TEXT',
      );
      throw new UnrecoverableError(failure.error.message);
    }
    const level = this.#p.complaints.isNews(batch.route, failure.error.code) ? 'warn' : 'debug';
    log[level]({ ...facts, err: error, retryInMs: verdict.intervalMs }, 'not confirmed; retrying');
    return sleepJob(job, token, verdict.intervalMs);
  }
}
