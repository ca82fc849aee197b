import { Redis } from 'ioredis';
import { freePort } from '../../test/support/freePort.js';
import type { Bench, FerryOptions } from './lab.js';
import { startRedis } from './redis.js';

/** Batches that wait in Redis and spool, with nobody to send them. */
export interface Backlog {
  routes: number;
  batches: number;
  bytes: number;
}

/**
 * Fills routes with batches and ends the producer, so that what follows is the workers' alone.
 * `limits.ahead` is so large that all of them are accepted and jobs in Redis.
 *
 * @param perRoute batches of each route
 * @param destination further fields of the destination, YAML flow
 */
export async function pileUp(
  bench: Bench,
  routes: number,
  perRoute: number,
  options: { port: number; bytes?: number; destination?: string },
): Promise<Backlog> {
  const { port, bytes = 200, destination } = options;
  const metrics = await freePort();
  const redis = await startRedis(bench);
  const ferry: FerryOptions = {
    ports: { replica: port },
    redis,
    ...(destination === undefined ? {} : { destination }),
    journals: [
      `match: fifo/*, to: replica, interval: 60s, flush: {maxBytes: 1B}, limits: {ahead: ${Math.max(64, perRoute)}}`,
    ],
  };
  bench.configure({ ...ferry, more: `metrics: {listen: 127.0.0.1:${metrics}}` });
  const producer = await bench.ferry('producer');
  for (let n = 1; n <= perRoute; n += 1) {
    await bench.commits(routes, routes, bytes);
    await bench.until(`batch ${n} of every route was captured`, async () => {
      return (await bench.metric(metrics, 'ferry_captured_batches_total')) >= n * routes;
    });
  }
  const client = new Redis({ path: redis.replace('unix://', '') });
  try {
    await bench.until('all of them are in Redis', () => isAccepted(client, routes, perRoute));
  } finally {
    client.disconnect();
  }
  await bench.end(producer);
  bench.configure(ferry); // several workers cannot share a port for their metrics
  return { routes, batches: routes * perRoute, bytes };
}

async function isAccepted(client: Redis, routes: number, perRoute: number): Promise<boolean> {
  const pipeline = client.pipeline();
  for (let n = 1; n <= routes; n += 1) pipeline.hget(`{ferry}:route:j${n}@replica`, 'tail');
  const tails = (await pipeline.exec()) ?? [];
  return tails.every(([, tail]) => Number(tail) >= perRoute);
}
