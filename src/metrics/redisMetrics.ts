import { Gauge, type Registry } from 'prom-client';
import { describe } from '../common/errors.js';
import type { ReadyCheck } from '../common/role.js';
import { within } from '../common/within.js';
import type { QueueAccess } from '../queue/access.js';

/** Who asks must get an answer, also while Redis gives none. */
const PATIENCE_MS = 1_000;

/** Whether Redis answers now and passed the checks at the connect. */
export async function redisCheck({ scripts }: QueueAccess): Promise<ReadyCheck> {
  const name = 'redis';
  if (scripts.facts === null) {
    const { refusal } = scripts;
    return {
      name,
      ok: false,
      message:
        refusal === null ? 'Redis cannot be reached' : `${refusal.code}: ${describe(refusal)}`,
    };
  }
  const ok = await within(
    PATIENCE_MS,
    scripts.ask((client) => client.ping()),
  );
  return { name, ok: ok !== null, message: ok === null ? 'Redis does not answer' : 'answers' };
}

/** `ferry_redis_up`, and BullMQ's count of its jobs by state. */
export function redisMetrics(registry: Registry, access: QueueAccess): void {
  new Gauge({
    name: 'ferry_redis_up',
    help: '1: Redis answers and is used',
    registers: [registry],
    async collect() {
      this.set((await redisCheck(access)).ok ? 1 : 0);
    },
  });
  // At most one question: a Redis that hangs must not gather them.
  let asking = false;
  new Gauge({
    name: 'bullmq_job_count',
    help: 'Jobs in the queue by state; parked batches are delayed',
    labelNames: ['queue', 'state'],
    registers: [registry],
    async collect() {
      this.reset();
      if (asking || access.scripts.facts === null) return;
      asking = true;
      const { batches, blobs } = access.queues;
      const question = Promise.all(
        [batches, blobs].map(async (queue) => ({
          queue: queue.name,
          counts: await queue.getJobCounts(),
        })),
      ).finally(() => {
        asking = false;
      });
      for (const { queue, counts } of (await within(PATIENCE_MS, question)) ?? []) {
        for (const [state, count] of Object.entries(counts)) this.set({ queue, state }, count);
      }
    },
  });
}
