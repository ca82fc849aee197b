import type { JobQueues } from './jobQueues.js';
import { batchJobId } from './keys.js';
import type { SkipAnswer } from './routeAnswers.js';
import type { RouteOrder } from './routeOrder.js';

/**
 * Wakes the head of a route. Part of correctness: a kill between "parked" and "looked again", or
 * a click on "remove", can leave a head that nobody will ever run. Harmless when it is awake.
 */
export async function wakeHead(order: RouteOrder, queues: JobQueues, route: string): Promise<void> {
  const state = await order.state(route);
  if (state === null || state.paused || state.blocked !== null || state.head > state.tail) return;
  const job = await order.accepted(route, state.head);
  if (job !== null) await queues.wakeBatch(job);
}

/** After an ack: promotes the successor, or brings its job back from what was accepted. */
export async function promoteHead(
  order: RouteOrder,
  queues: JobQueues,
  head: { route: string; generation: number; sequence: number },
): Promise<void> {
  const id = batchJobId(head.route, head.generation, head.sequence);
  if ((await queues.promoteBatch(id)) !== 'missing') return;
  const job = await order.accepted(head.route, head.sequence);
  if (job !== null && job.generation === head.generation) await queues.addBatch(job, false);
}

/** The batch that these blobs follow is confirmed. One whose job is gone comes back, too. */
export async function promoteBlobs(
  order: RouteOrder,
  queues: JobQueues,
  jobIds: readonly string[],
): Promise<void> {
  let missing = false;
  for (const id of jobIds) if ((await queues.promoteBlob(id)) === 'missing') missing = true;
  // Only their producer can say what they were.
  if (missing) await order.askForWaking();
}

/**
 * The operator gave the head up: the route moves on, the job of what was given up goes away (it is
 * a failed one), and what waited is woken. Harmless when it was done before.
 */
export async function skipHead(
  order: RouteOrder,
  queues: JobQueues,
  head: { route: string; generation: number; sequence: number },
): Promise<SkipAnswer> {
  const { route, generation, sequence } = head;
  const answer = await order.skip(route, generation, sequence);
  if (answer.is !== 'skipped') return answer;
  // One that somebody runs at this moment stays, and finds itself delivered.
  await queues.batches.remove(batchJobId(route, generation, sequence)).catch(() => 0);
  await wakeHead(order, queues, route);
  await promoteBlobs(order, queues, answer.blobs);
  return answer;
}
