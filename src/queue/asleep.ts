import type { Queue } from './bullmq.js';
import type { RedisClient } from './connection.js';

/** BullMQ keeps a time in ms times this, with a counter in the lower bits, as a delayed job's score. */
const SCORE_PER_MS = 4096;

/** Why a job will not run by itself; `awake`: it will, or it runs, or it waits for its retry. */
export type Sleep = 'awake' | 'missing' | 'parked' | 'failed' | 'completed';

/**
 * Whether jobs that ought to run will do so by themselves, for as many as are asked for in one trip
 * and at the same cost for each, however many jobs wait: BullMQ's own question for a job's state goes
 * through the list of all that wait.
 *
 * @param parkedBeyondMs a job whose sleep lasts longer from now on was parked
 * @returns in the order of the ids
 */
export async function sleepsOf(
  client: RedisClient,
  queue: Queue,
  ids: readonly string[],
  parkedBeyondMs: number,
): Promise<Sleep[]> {
  if (ids.length === 0) return [];
  const [there, delayed, failed, completed] = await Promise.all([
    areThere(client, queue, ids),
    client.zmscore(queue.toKey('delayed'), ...ids),
    client.zmscore(queue.toKey('failed'), ...ids),
    client.zmscore(queue.toKey('completed'), ...ids),
  ]);
  const parkedFrom = (Date.now() + parkedBeyondMs) * SCORE_PER_MS;
  return ids.map((_, index): Sleep => {
    if (there[index] !== true) return 'missing';
    if (typeof failed[index] === 'string') return 'failed';
    if (typeof completed[index] === 'string') return 'completed';
    return Number(delayed[index] ?? 0) > parkedFrom ? 'parked' : 'awake';
  });
}

/** Mostly all are, or none, and then one question is enough. */
async function areThere(
  client: RedisClient,
  queue: Queue,
  ids: readonly string[],
): Promise<boolean[]> {
  const keys = ids.map((id) => queue.toKey(id));
  const count = await client.exists(...keys);
  if (count === 0 || count === ids.length) return ids.map(() => count > 0);
  return Promise.all(keys.map(async (key) => (await client.exists(key)) === 1));
}
