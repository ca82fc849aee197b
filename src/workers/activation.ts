import type { Logger } from 'pino';
import { FerryError } from '../common/errors.js';
import type { Meter } from '../common/meter.js';
import { DelayedError, type Job } from '../queue/bullmq.js';
import type { JobQueues } from '../queue/jobQueues.js';
import type { Answer } from '../queue/routeAnswers.js';
import type { RouteOrder } from '../queue/routeOrder.js';
import type { Complaints } from './complaints.js';
import type { Delivery } from './delivery.js';
import type { Lease } from './lease.js';
import type { WorkerStop } from './workerStop.js';

/** What an activation of a job works with, whether it is a batch's or a blob's. */
export interface ActivationParts {
  order: RouteOrder;
  queues: JobQueues;
  delivery: Pick<Delivery, 'preconnect' | 'prepareBlob' | 'sendBatch' | 'sendBlob'>;
  stop: WorkerStop;
  complaints: Complaints;
  meter: Meter;
  log: Logger;
  /** Unique per worker process. */
  workerId: string;
}

/** A route that is not open for this Redis run waits for its producer this long, then looks again. */
export const CLOSED_PAUSE_MS = 1_000;
/** A lease that ended under us is somebody else's for a while. */
export const LOST_PAUSE_MS = 1_000;
/** Between two tries to tell Redis of something that the far side has confirmed. */
const TELL_AGAIN_MS = 200;

/**
 * Waits for Redis to say whether this activation may send. Until then nothing of it is on the wire
 * but a handshake; unless it may, the connection ends without a request.
 *
 * @param begun what was asked
 * @throws FerryError as what was asked
 */
export async function rightToSend<A extends Answer<string>>(
  begun: Promise<A>,
  lease: Lease,
  ahead: { drop(): unknown } | null,
): Promise<A> {
  let mayBegin = false;
  try {
    const answer = await begun;
    mayBegin = answer.is === 'go';
    return answer;
  } finally {
    if (mayBegin) lease.hold();
    else {
      lease.abort();
      void ahead?.drop();
    }
  }
}

/**
 * Puts the job back for `ms` and ends its activation.
 *
 * @param slept called once it is put back
 * @throws DelayedError always: BullMQ's word for it
 */
export async function sleepJob(
  job: Job,
  token: string,
  ms: number,
  slept?: () => void,
): Promise<never> {
  await job.moveToDelayed(Date.now() + ms, token);
  slept?.();
  throw new DelayedError();
}

/**
 * Tells Redis of a confirmation. What it does not learn would be sent again, so this goes on until
 * Redis answers, or the process has to stop.
 */
export async function tellRedis<T>(stop: WorkerStop, tell: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await tell();
    } catch (error) {
      if (!(error instanceof FerryError) || error.kind !== 'redis' || stop.overdue) throw error;
      await stop.pause(TELL_AGAIN_MS);
    }
  }
}
