/**
 * What `begin` and `ack` cost, apart from each other and from BullMQ: first `begin` is asked for a
 * batch of every route, as many at once as a worker has connections, then every one of them is
 * acked and its successor promoted, and so on. The scripts, their callers and the promotion are
 * the worker's own.
 *
 *     usage: stages CONFIG SOCKET ROUTES PER_ROUTE
 *     SOCKET is the Redis's; the routes are j1@replica and so on, with so many batches each
 *     prints: {"stages":{"begin":{...},"ack":{...}}}: seconds per batch, over the second half
 */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { endWithParent } from '../../chaos/program.js';
import { type Chain, extended } from '../../src/common/chain.js';
import { loadConfig } from '../../src/config/load.js';
import { openQueueAccess } from '../../src/queue/access.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import { promoteHead } from '../../src/queue/wake.js';
import { ownCpuSeconds, serverCpuSeconds } from '../harness/cpu.js';

const AT_ONCE = 64;
const HOLDER = 'bench';

endWithParent();
const [file = '', socket = '', ...numbers] = process.argv.slice(2);
const [routes = 1, perRoute = 2] = numbers.map(Number);
const access = await openQueueAccess(loadConfig(file), pino({ level: 'warn' }));
const { order, queues } = access;
await access.scripts.ready();
const redis = new Redis({ path: socket });

interface Cost {
  seconds: number;
  cpu: number;
  redisCpu: number;
}
const costs = { begin: none(), ack: none() };

function none(): Cost {
  return { seconds: 0, cpu: 0, redisCpu: 0 };
}

/** Does it for all routes; what that costs is added up, when it counts. */
async function stage(into: Cost | null, work: (route: number) => Promise<void>): Promise<void> {
  const before = await serverCpuSeconds(redis);
  const cpu = ownCpuSeconds();
  const begun = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let route = next++; route < routes; route = next++) await work(route);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  if (into === null) return;
  into.seconds += (performance.now() - begun) / 1_000;
  into.cpu += ownCpuSeconds() - cpu;
  into.redisCpu += (await serverCpuSeconds(redis)) - before;
}

const from = Math.floor(perRoute / 2);
for (let n = 1; n <= perRoute; n += 1) {
  const jobs: BatchJob[] = [];
  const chains: (Chain | null)[] = [];
  for (let route = 0; route < routes; route += 1) {
    const job = await order.accepted(`j${route + 1}@replica`, n);
    if (job === null) throw new Error(`batch ${n} of route ${route + 1} is not in Redis`);
    jobs.push(job);
  }
  const job = (route: number): BatchJob => jobs[route] as BatchJob;
  const isCounted = n > from; // before, the code is not compiled yet
  await stage(isCounted ? costs.begin : null, async (route) => {
    const answer = await order.begin(job(route), HOLDER);
    if (answer.is !== 'go') throw new Error(`begin said ${answer.is}`);
    chains[route] = answer.chain && extended(answer.chain, n, job(route).sha256);
  });
  await stage(isCounted ? costs.ack : null, async (route) => {
    const { route: name, generation } = job(route);
    const answer = await order.ack(job(route), HOLDER, chains[route] ?? null);
    if (answer.is === 'stale') throw new Error('an ack was stale');
    if (answer.head > answer.tail) return;
    await promoteHead(order, queues, { route: name, generation, sequence: answer.head });
  });
}
const counted = routes * (perRoute - from);
const perBatch = ({ seconds, cpu, redisCpu }: Cost): Cost => ({
  seconds: seconds / counted,
  cpu: cpu / counted,
  redisCpu: redisCpu / counted,
});
const stages = { begin: perBatch(costs.begin), ack: perBatch(costs.ack) };
console.log(JSON.stringify({ stages }));
process.exit(0);
