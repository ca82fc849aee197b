import { inSeconds, type Kind } from './plan.js';
import type { Random } from './random.js';
import type { Site } from './site.js';

/** Whatever happens to a Redis, and what it may forget by it. */
export function redisEvents(site: Site): Kind[] {
  const { redis, peer } = site;
  const away = (random: Random): number => (random.chance(0.3) ? 0 : random.between(100, 3_000));
  return [
    {
      weight: 1.5,
      plan(random) {
        const ms = away(random);
        return {
          targets: ['redis'],
          text: `redis: SIGKILL, back after ${inSeconds(ms)}`,
          count: (counters) => counters.redisKills++,
          async run(pause) {
            const loss = peer.redisLost();
            await redis.kill();
            await pause(ms);
            await redis.start();
            loss.at = performance.now();
          },
        };
      },
    },
    {
      weight: 1.5,
      plan(random) {
        const ms = away(random);
        return {
          targets: ['redis'],
          text: `redis: clean restart and a copy of its files, back after ${inSeconds(ms)}`,
          count: (counters) => counters.redisRestarts++,
          async run(pause) {
            await redis.stop();
            await redis.copy();
            await pause(ms);
            await redis.start();
          },
        };
      },
    },
    {
      weight: 1,
      plan(random) {
        const ms = random.between(2_000, 6_000);
        return {
          targets: ['redis'],
          text: `redis: SIGSTOP for ${inSeconds(ms)}`,
          count: (counters) => counters.redisStops++,
          async run(pause) {
            redis.pause();
            await pause(ms);
            redis.resume();
          },
        };
      },
    },
    {
      weight: 0.7,
      plan: () => ({
        targets: ['redis'],
        text: 'redis: FLUSHALL',
        count: (counters) => counters.flushes++,
        async run() {
          const loss = peer.redisLost();
          await redis.flush();
          loss.at = performance.now();
        },
      }),
    },
    {
      weight: 0.7,
      plan(random) {
        const ms = away(random);
        const killed = random.chance(0.5);
        return {
          targets: ['redis'],
          text: `redis: ${killed ? 'SIGKILL' : 'stop'}, an older copy of its files, back after ${inSeconds(ms)}`,
          count: (counters) => counters.restores++,
          async run(pause) {
            const loss = peer.redisLost();
            if (killed) await redis.kill();
            else await redis.stop();
            // The first copy of a run cannot be an older one.
            if (redis.hasCopy) await redis.restore();
            else await redis.copy();
            await pause(ms);
            await redis.start();
            loss.at = performance.now();
          },
        };
      },
    },
  ];
}
