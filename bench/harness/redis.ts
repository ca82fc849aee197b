import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { serverArguments } from '../../chaos/redis.js';
import { findRedisServer } from '../../src/queue/embedded/findServer.js';
import { ping } from '../../src/queue/embedded/ping.js';
import type { Bench } from './lab.js';

const START_MS = 60_000;

/** A Redis of the measurement's own, as durable as the embedded one; answers its url. */
export async function startRedis(bench: Bench): Promise<string> {
  const dir = bench.path('redis');
  mkdirSync(dir);
  const socket = bench.path('redis', 'redis.sock');
  const { program, name } = await findRedisServer();
  const child = bench.start('redis', program, serverArguments(dir, socket), name);
  const deadline = performance.now() + START_MS;
  while ((await ping(socket)) !== 'ready') {
    if (child.isOver || performance.now() > deadline) throw new Error('Redis does not answer');
    await sleep(20);
  }
  return `unix://${socket}`;
}
