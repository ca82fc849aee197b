import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { serverCpuSeconds } from './cpu.js';
import type { Bench } from './lab.js';
import { startRedis } from './redis.js';
import { cpuSeconds } from './usage.js';

const ACCEPT_MS = 600_000;
const SEAL_MS = 600_000;
/** Between two looks at the routes: each costs a question per route that is not through. */
const LOOK_MIN_MS = 20;
const LOOK_MS_PER_ROUTE = 0.1;
/** Of each batch, unless it is said. */
const BYTES = 200;
/** `limits.ahead`, unless more are to be in Redis. */
const AHEAD = 64;

/** What piles up. */
export interface PileOptions {
  /** Where the destination is; nobody need listen there. */
  port: number;
  /** Of each batch; default 200. */
  bytes?: number;
  /** Further fields of the destination, YAML flow. */
  destination?: string;
}

/** Batches that wait in Redis and spool, with nobody to send them. */
export interface Backlog {
  batches: number;
  /** Processor seconds of producer and Redis from the producer's start until all was accepted. */
  acceptCpu: { producer: number; redis: number };
}

/** A Redis of the measurement's own, and what piles up in it. */
export class Pile {
  readonly redis: Redis;

  private constructor(
    readonly bench: Bench,
    readonly socket: string,
    readonly options: PileOptions,
  ) {
    this.redis = new Redis({ path: socket });
    bench.atEnd(() => this.redis.disconnect());
  }

  static async open(bench: Bench, options: PileOptions): Promise<Pile> {
    const url = await startRedis(bench);
    return new Pile(bench, url.replace('unix://', ''), options);
  }

  /** Processor seconds of a producer from its start until it says so, before anything piles up. */
  async startCpu(): Promise<number> {
    this.#configure(1);
    const producer = await this.bench.ferry('producer');
    const seconds = cpuSeconds({ pids: [producer.pid] });
    await this.bench.end(producer);
    return seconds;
  }

  /**
   * Fills routes with batches and ends the producer, so that what follows is the workers' alone:
   * the batches are sealed first, without Redis, and then all accepted; `limits.ahead` is so large
   * that all of them are jobs in Redis.
   *
   * @param prefix of the journals' names; another one for each time
   * @param perRoute batches of each route
   */
  async up(prefix: string, routes: number, perRoute: number): Promise<Backlog> {
    const { bench, options } = this;
    this.#configure(perRoute);
    for (let n = 1; n <= routes; n += 1) writeFileSync(bench.path('fifo', `${prefix}${n}`), '');
    const words = [bench.stateDir, prefix, routes, perRoute, options.bytes ?? BYTES].map(String);
    await bench.program('seal', words).line(/"sealed"/, SEAL_MS);
    const before = await serverCpuSeconds(this.redis);
    const producer = await bench.ferry('producer');
    const names = Array.from({ length: routes }, (_, n) => `${prefix}${n + 1}@replica`);
    await this.#accepted(names, perRoute);
    const acceptCpu = {
      producer: cpuSeconds({ pids: [producer.pid] }),
      redis: (await serverCpuSeconds(this.redis)) - before,
    };
    await bench.end(producer);
    return { batches: routes * perRoute, acceptCpu };
  }

  #configure(ahead: number): void {
    const { port, destination } = this.options;
    this.bench.configure({
      ports: { replica: port },
      redis: `unix://${this.socket}`,
      ...(destination === undefined ? {} : { destination }),
      journals: [
        `match: fifo/*, to: replica, interval: 60s, limits: {ahead: ${Math.max(AHEAD, ahead)}}`,
      ],
    });
  }

  /** Waits until so many batches of every one of these routes are in Redis. */
  async #accepted(routes: readonly string[], perRoute: number): Promise<void> {
    const deadline = performance.now() + ACCEPT_MS;
    let left = [...routes];
    for (;;) {
      const pipeline = this.redis.pipeline();
      for (const route of left) pipeline.hget(`{ferry}:route:${route}`, 'tail');
      const tails = (await pipeline.exec()) ?? [];
      left = left.filter((_, n) => Number(tails[n]?.[1] ?? 0) < perRoute);
      if (left.length === 0) return;
      if (performance.now() > deadline) throw new Error(`${left[0]} was not accepted in time`);
      await sleep(Math.max(LOOK_MIN_MS, left.length * LOOK_MS_PER_ROUTE));
    }
  }
}

/** The same for a measurement that piles up once. */
export async function pileUp(
  bench: Bench,
  routes: number,
  perRoute: number,
  options: PileOptions,
): Promise<Backlog> {
  return (await Pile.open(bench, options)).up('j', routes, perRoute);
}
