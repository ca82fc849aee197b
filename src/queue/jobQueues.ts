import type { Logger } from 'pino';
import { sleepsOf } from './asleep.js';
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

/** Jobs in one transaction or question: it holds up everybody else at Redis. */
const JOBS_PER_CALL = 64;

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
   * there already changes nothing. One transaction and one round trip for each 64 of them.
   *
   * @throws FerryError REDIS_AWAY: some may be there
   */
  async addBlobs(jobs: readonly BlobJob[]): Promise<void> {
    for (let at = 0; at < jobs.length; at += JOBS_PER_CALL) {
      const entries = jobs.slice(at, at + JOBS_PER_CALL).map((job) => ({
        name: 'blob',
        data: job,
        opts: { ...JOB_OPTIONS, jobId: idOfBlob(job) },
      }));
      await this.blobs.addBulk(entries).catch((error: unknown) => {
        throw redisTrouble('jobs of blobs were not added', error);
      });
    }
  }

  promoteBatch(jobId: string): Promise<PromoteOutcome> {
    return this.#promote(this.batches, jobId);
  }

  promoteBlob(jobId: string): Promise<PromoteOutcome> {
    return this.#promote(this.blobs, jobId);
  }

  /**
   * Wakes a batch that ought to run, whatever became of its job.
   *
   * A job that waits for its retry is left alone; a parked one is promoted; one that failed
   * outside our block, or is gone (a click on "remove"), comes back.
   */
  async wakeBatch(job: BatchJob): Promise<void> {
    const id = batchJobId(job.route, job.generation, job.sequence);
    const { missing, completed } = await this.#wake(this.batches, [id]);
    if (missing.size > 0) await this.addBatch(job, false);
    if (completed.size > 0) await rerun(this.batches, id, 'completed');
  }

  /**
   * The same for blobs whose batches are confirmed, many of them in one round trip.
   *
   * @returns those whose jobs are over: whoever asks knows whether they were confirmed
   */
  async wakeBlobs(jobs: readonly BlobJob[]): Promise<BlobJob[]> {
    const over: BlobJob[] = [];
    for (let at = 0; at < jobs.length; at += JOBS_PER_CALL) {
      const group = jobs.slice(at, at + JOBS_PER_CALL);
      const { missing, completed } = await this.#wake(this.blobs, group.map(idOfBlob));
      const ofIds = (ids: ReadonlySet<string>) => group.filter((job) => ids.has(idOfBlob(job)));
      if (missing.size > 0) await this.addBlobs(ofIds(missing));
      if (completed.size > 0) over.push(...ofIds(completed));
    }
    return over;
  }

  /** Runs jobs of blobs again that are over. */
  async rerunBlobs(jobs: readonly BlobJob[]): Promise<void> {
    for (const job of jobs) await rerun(this.blobs, idOfBlob(job), 'completed');
  }

  /** Wakes those that would sleep on, except what is not there, and what is completed. */
  async #wake(
    queue: Queue,
    ids: readonly string[],
  ): Promise<Record<'missing' | 'completed', Set<string>>> {
    const sleeps = await sleepsOf(this.#client, queue, ids, PARKED_BEYOND_MS);
    const found = { missing: new Set<string>(), completed: new Set<string>() };
    for (const [index, id] of ids.entries()) {
      const sleep = sleeps[index];
      if (sleep === 'missing' || sleep === 'completed') found[sleep].add(id);
      else if (sleep === 'parked') await this.#promote(queue, id);
      else if (sleep === 'failed') await rerun(queue, id, sleep);
    }
    return found;
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

  /** The same for blobs, many of them under way at once. */
  async removeBlobs(
    route: string,
    stream: string,
    blobs: Iterable<Pick<BlobJob, 'link' | 'version'>>,
  ): Promise<void> {
    const ids = Array.from(blobs, ({ link, version }) =>
      idOfBlob({ route, stream, link, version }),
    );
    for (let at = 0; at < ids.length; at += JOBS_PER_CALL) {
      const group = ids.slice(at, at + JOBS_PER_CALL);
      await Promise.all(group.map((id) => this.blobs.remove(id).catch(() => 0)));
    }
  }

  async #promote(queue: Queue, jobId: string): Promise<PromoteOutcome> {
    try {
      await new Job(queue, 'job', {}, {}, jobId).promote();
      return 'promoted';
    } catch {
      // Not in `delayed`: find out why, and let a lost connection speak for itself.
      return (await this.#client.exists(queue.toKey(jobId))) === 0 ? 'missing' : 'awake';
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.batches.close(), this.blobs.close()]);
    this.#client.disconnect();
  }
}

function idOfBlob({
  route,
  stream,
  link,
  version,
}: Pick<BlobJob, 'route' | 'stream' | 'link' | 'version'>): string {
  return blobJobId(route, stream, blobKey(link), version);
}

async function rerun(queue: Queue, id: string, from: 'failed' | 'completed'): Promise<void> {
  const found = await queue.getJob(id);
  await found?.retry(from).catch(() => undefined); // somebody else woke it meanwhile
}
