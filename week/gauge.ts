import { Redis } from 'ioredis';
import type { WeekSite } from './site.js';

/** What could grow while a destination is dead, looked at once. */
export interface Sample {
  /** Of the dead route that has the fewest. */
  attempts: number;
  redisBytes: number;
  redisKeys: number;
  aofBytes: number;
  waiting: number;
  delayed: number;
  completed: number;
  failed: number;
  events: number;
  producerBytes: number;
  workerBytes: number;
  /** Of the largest. */
  spoolBytes: number;
}

const TAG = '{ferry}';

/** Looks at Redis and the roles. */
export class Gauge {
  readonly #client: Redis;

  constructor(private readonly site: WeekSite) {
    this.#client = new Redis({ path: site.redis.url.replace('unix://', '') });
    this.#client.on('error', () => undefined);
  }

  close(): void {
    this.#client.disconnect();
  }

  /** Failed attempts of the dead route that has the fewest. */
  async attempts(): Promise<number> {
    const counts = await Promise.all(
      this.site.journals.map((journal) =>
        this.#client.hget(`${TAG}:route:${journal}@dead`, 'attempts'),
      ),
    );
    return Math.min(...counts.map(Number));
  }

  async sample(): Promise<Sample> {
    const { site } = this;
    const key = (name: string): string => `${TAG}:batches:${name}`;
    const client = this.#client;
    const spools = await Promise.all(site.journals.map((journal) => site.spoolBytes(journal)));
    return {
      attempts: await this.attempts(),
      redisBytes: Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1]),
      aofBytes: Number(/^aof_current_size:(\d+)/m.exec(await client.info('persistence'))?.[1]),
      redisKeys: await client.dbsize(),
      waiting: await client.llen(key('wait')),
      delayed: await client.zcard(key('delayed')),
      completed: await client.zcard(key('completed')),
      failed: await client.zcard(key('failed')),
      events: await client.xlen(key('events')),
      producerBytes: await site.memoryOf('producer'),
      workerBytes: await site.memoryOf('worker'),
      spoolBytes: Math.max(...spools),
    };
  }
}
