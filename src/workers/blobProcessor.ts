import { crashPoint } from '../common/crashPoints.js';
import type { DestinationConfig } from '../config/model.js';
import { DelayedError, type Job } from '../queue/bullmq.js';
import { PARK_MS } from '../queue/jobQueues.js';
import type { BlobJob } from '../queue/jobs.js';
import type { BeginBlobAnswer } from '../queue/routeAnswers.js';
import { LEASE_MS } from '../queue/routeOrder.js';
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

interface Activation {
  job: Job<BlobJob>;
  token: string;
  holder: string;
  place: Place;
}

/**
 * One activation of a blob's job. Blobs of a route go in parallel and fail alone: none holds back
 * a batch, none is ever given up.
 */
export class BlobProcessor {
  readonly #p: ActivationParts;
  #activations = 0;
  /** By route: what was confirmed when a blob of it might be sent last. */
  readonly #passed = new Map<string, { stream: string; sequence: number }>();

  constructor(parts: ActivationParts) {
    this.#p = parts;
  }

  /** Parameters as `BatchProcessor.run` has them. */
  async run(
    job: Job<BlobJob>,
    token: string,
    destination: DestinationConfig,
    place: Place,
  ): Promise<void> {
    const blob = job.data;
    this.#activations += 1;
    const holder = `${this.#p.workerId}.b${this.#activations}`;
    const lease = new Lease({
      leaseMs: LEASE_MS,
      startedAt: performance.now(),
      renew: () => this.#p.order.endBlob(blob, holder, 'renew'),
    });
    const begun = this.#p.order.beginBlob(blob, String(job.id), holder);
    const ahead = this.#mayLikely(blob)
      ? this.#p.delivery.prepareBlob(destination, blob, lease.signal)
      : null;
    const answer = await rightToSend(begun, lease, ahead);
    this.#note(blob, answer.is);
    switch (answer.is) {
      case 'stale':
      case 'delivered':
        return;
      case 'closed':
        return sleepJob(job, token, CLOSED_PAUSE_MS);
      case 'wait':
        return sleepJob(job, token, answer.ms);
      case 'park': {
        await job.moveToDelayed(Date.now() + PARK_MS, token);
        // The batch it follows may have been confirmed between the question and the parking.
        const state = await this.#p.order.state(blob.route).catch(() => null);
        if (state !== null && state.head > blob.follows && !state.paused) {
          await this.#p.queues.promoteBlob(String(job.id)).catch(() => undefined);
        }
        throw new DelayedError();
      }
      case 'go':
        break;
    }
    const leaveStop = this.#p.stop.enter(() => lease.abort());
    try {
      const rights = { mayConfirm: () => lease.isValid(), signal: lease.signal };
      const sent = await this.#p.delivery.sendBlob(destination, blob, rights, ahead);
      place.reached();
      place.leave();
      crashPoint('blob.confirmed');
      await tellRedis(this.#p.stop, () => this.#p.order.endBlob(blob, holder, { confirm: sent }));
      this.#p.meter.deliveredBlob(blob.route);
      this.#p.complaints.isOver(`${blob.route} blobs`);
      this.#p.log.debug({ route: blob.route, link: blob.link }, 'blob confirmed');
    } catch (error) {
      lease.stop();
      return await this.#ended({ job, token, holder, place }, error, answer.intervalMs);
    } finally {
      lease.stop();
      void ahead?.drop();
      leaveStop();
    }
  }

  /**
   * Another blob behind the same batch or a later one might be sent last time. Without that most
   * answers are "park": a blob's job is there as soon as its batch's is, and none of them is to knock
   * in vain.
   */
  #mayLikely({ route, stream, follows }: BlobJob): boolean {
    const passed = this.#passed.get(route);
    return passed !== undefined && passed.stream === stream && follows <= passed.sequence;
  }

  #note({ route, stream, follows }: BlobJob, is: BeginBlobAnswer['is']): void {
    if (is === 'park' || is === 'closed' || is === 'stale') this.#passed.delete(route);
    if (is !== 'go') return;
    const passed = this.#passed.get(route);
    const before = passed?.stream === stream ? passed.sequence : 0;
    this.#passed.set(route, { stream, sequence: Math.max(before, follows) });
  }

  async #ended(
    { job, token, holder, place }: Activation,
    error: unknown,
    intervalMs: number,
  ): Promise<never> {
    const blob = job.data;
    const end = attemptEnd(error, this.#p.stop.stopping);
    if (end.is === 'redis-away') throw error;
    if (end.is === 'failed' && end.isAway) place.unreached();
    const failed = end.is === 'failed' ? end.failure.error : null;
    if (failed !== null) this.#p.meter.attemptFailed(blob.route, failed.code);
    await this.#p.order.endBlob(blob, holder, { release: failed });
    if (end.is === 'stopped') return sleepJob(job, token, 0);
    if (end.is === 'lost') return sleepJob(job, token, LOST_PAUSE_MS);
    // One blob's word stands for all of the route that have the same trouble.
    const isNews = this.#p.complaints.isNews(`${blob.route} blobs`, failed?.code ?? '');
    this.#p.log[isNews ? 'warn' : 'debug'](
      { route: blob.route, link: blob.link, err: error, retryInMs: intervalMs },
      'blob not confirmed; retrying',
    );
    return sleepJob(job, token, intervalMs);
  }
}
