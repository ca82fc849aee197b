import type { Logger } from 'pino';
import { connectBullMq } from './bullConnection.js';
import { Job, type JobsOptions, Queue } from './bullmq.js';
import type { RedisClient, RedisTarget } from './connection.js';
import { type BatchJob, type BlobJob, blobKey } from './jobs.js';
import { BATCH_QUEUE, BLOB_QUEUE, batchJobId, blobJobId, type Keys } from './keys.js';
import { redisTrouble } from './trouble.js';

/**
 * How long a parked job sleeps unless promoted. BullMQ keeps time * 4096 in a double, so times
 * beyond the year 2039 lose their order; a year is "for ever" and safe, and a job that does wake
 * is only parked again.
 */
export const PARK_MS = 365 * 24 * 3600 * 1000;

/** A delay longer than any retry interval: the job sleeps because it was parked. */
const PARKED_BEYOND_MS = 30 * 24 * 3600 * 1000;

/** Finished jobs that the dashboard can still show. */
const KEEP_COMPLETED = 1_000;
const EVENTS_KEPT = 1_000;

/**
 * BullMQ must never give a job up by its own counting: a batch that vanishes stops its route for
 * ever. Our scripts count attempts; an error that escapes the processor is tried again.
 */
const JOB_OPTIONS: JobsOptions = {
  attempts: 1_000_000_000,
  backoff: { type: 'fixed', delay: 1_000 },
  removeOnComplete: { count: KEEP_COMPLETED },
  removeOnFail: false,
  stackTraceLimit: 1,
  keepLogs: 10,
};

export type PromoteOutcome =
  | 'promoted'
  /** Waiting, active, failed or finished: there is nothing to wake. */
  | 'awake'
  | 'missing';

/** The two queues, as those see them that add and wake jobs. */
export class JobQueues {
  readonly batches: Queue<BatchJob>;
  readonly blobs: Queue<BlobJob>;
  readonly #client: RedisClient;

  constructor(target: RedisTarget, keys: Keys, log: Logger) {
    this.#client = connectBullMq(target);
    const options = {
      connection: this.#client,
      prefix: keys.tag,
      skipVersionCheck: true,
      streams: { events: { maxLen: EVENTS_KEPT } },
    };
    this.batches = new Queue<BatchJob>(BATCH_QUEUE, options);
    this.blobs = new Queue<BlobJob>(BLOB_QUEUE, options);
    for (const queue of [this.batches, this.blobs]) {
      queue.on('error', (err) => log.debug({ err }, 'queue connection'));
    }
  }

  /** Adding a job that is there already changes nothing. */
  async addBatch(job: BatchJob, parked: boolean): Promise<void> {
    await this.addBatches([{ job, parked }]);
  }

  /**
   * One transaction, one round trip.
   *
   * @throws FerryError REDIS_AWAY: some may be there
   */
  async addBatches(entries: readonly { job: BatchJob; parked: boolean }[]): Promise<void> {
    const jobs = entries.map(({ job, parked }) => ({
      name: 'batch',
      data: job,
      opts: {
        ...JOB_OPTIONS,
        jobId: batchJobId(job.route, job.generation, job.sequence),
        ...(parked ? { delay: PARK_MS } : {}),
      },
    }));
    await this.batches.addBulk(jobs).catch((error: unknown) => {
      throw redisTrouble('jobs were not added', error);
    });
  }

  /**
   * Blobs start runnable; the processor's `beginBlob` decides in any case. Adding a job that is
   * there already changes nothing. One transaction, one round trip.
   *
   * @throws FerryError REDIS_AWAY: some may be there
   */
  async addBlobs(jobs: readonly BlobJob[]): Promise<void> {
    const entries = jobs.map((job) => ({
      name: 'blob',
      data: job,
      opts: {
        ...JOB_OPTIONS,
        jobId: blobJobId(job.route, job.stream, blobKey(job.link), job.version),
      },
    }));
    await this.blobs.addBulk(entries).catch((error: unknown) => {
      throw redisTrouble('jobs of blobs were not added', error);
    });
  }

  async promoteBatch(jobId: string): Promise<PromoteOutcome> {
    return promote(this.batches, jobId);
  }

  async promoteBlob(jobId: string): Promise<PromoteOutcome> {
    return promote(this.blobs, jobId);
  }

  /**
   * Wakes a batch that ought to run, whatever became of its job.
   *
   * A job that waits for its retry is left alone; a parked one is promoted; one that failed
   * outside our block, or is gone (a click on "remove"), comes back.
   */
  async wakeBatch(job: BatchJob): Promise<void> {
    const id = batchJobId(job.route, job.generation, job.sequence);
    await this.#wake(this.batches, id, () => this.addBatch(job, false));
  }

  /** The same for a blob whose batch is confirmed. */
  async wakeBlob(job: BlobJob): Promise<void> {
    const id = blobJobId(job.route, job.stream, blobKey(job.link), job.version);
    await this.#wake(this.blobs, id, () => this.addBlobs([job]));
  }

  async #wake(queue: Queue, id: string, add: () => Promise<void>): Promise<void> {
    const state = await queue.getJobState(id);
    if (state === 'unknown') await add();
    else if (state === 'delayed') {
      const score = await this.#client.zscore(queue.toKey('delayed'), id);
      if (score !== null && Number(score) / 4096 > Date.now() + PARKED_BEYOND_MS) {
        await promote(queue, id);
      }
    } else if (state === 'failed' || state === 'completed') {
      const found = await queue.getJob(id);
      await found?.retry(state).catch(() => undefined); // somebody else woke it meanwhile
    }
  }

  /**
   * A second job for a batch whose first is still counted as active, since its worker was killed.
   * Whichever runs first delivers; the other finds that there is nothing to do.
   */
  async nudgeBatch(job: BatchJob, epoch: number): Promise<void> {
    const id = `${batchJobId(job.route, job.generation, job.sequence)}~${epoch}`;
    await this.batches.add('batch', job, { ...JOB_OPTIONS, jobId: id });
  }

  /** Active jobs stay; they find themselves stale at `begin`. */
  async removeBatches(route: string, generation: number, from: number, to: number): Promise<void> {
    for (let sequence = from; sequence <= to; sequence += 1) {
      await this.batches.remove(batchJobId(route, generation, sequence)).catch(() => 0);
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.batches.close(), this.blobs.close()]);
    this.#client.disconnect();
  }
}

async function promote(queue: Queue, jobId: string): Promise<PromoteOutcome> {
  try {
    await new Job(queue, 'job', {}, {}, jobId).promote();
    return 'promoted';
  } catch {
    // Not in `delayed`: find out why, and let a lost connection speak for itself.
    return (await queue.getJobState(jobId)) === 'unknown' ? 'missing' : 'awake';
  }
}
