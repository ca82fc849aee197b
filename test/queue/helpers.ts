import { readFileSync } from 'node:fs';
import { after } from 'node:test';
import { pino } from 'pino';
import type { RedisConfig } from '../../src/config/model.js';
import { connectRedis, type RedisTarget } from '../../src/queue/connection.js';
import { JobQueues } from '../../src/queue/jobQueues.js';
import type { BatchJob, BlobJob } from '../../src/queue/jobs.js';
import { Keys } from '../../src/queue/keys.js';
import { RouteOrder } from '../../src/queue/routeOrder.js';
import { SCRIPTS, ScriptConnection, type ScriptName } from '../../src/queue/scriptConnection.js';
import { Subscriber } from '../../src/queue/subscriber.js';
import { startTestRedis, type TestRedis } from '../support/redis.js';

export const silent = pino({ level: 'silent' });

export function urlConfig(url: string): Extract<RedisConfig, { kind: 'url' }> {
  return {
    kind: 'url',
    url,
    username: null,
    password: null,
    tls: null,
    sentinels: null,
    cluster: null,
    prefix: 'ferry',
    allowWithoutAof: false,
  };
}

export interface QueueFixture {
  redis: TestRedis;
  target: RedisTarget;
  keys: Keys;
  scripts: ScriptConnection;
  order: RouteOrder;
  queues: JobQueues;
  subscriber: Subscriber;
  data: ReturnType<typeof connectRedis>;
  /** What a test opened on this Redis itself: closed first. */
  closing: (() => Promise<void>)[];
}

/** A real Redis of this test's own, and everything that the roles open on it. */
export async function openQueueFixture(): Promise<QueueFixture> {
  // Hooks run in the order of their registration: connections end before their server does.
  let close = async (): Promise<void> => undefined;
  after(() => close());
  const redis = await startTestRedis();
  const target: RedisTarget = { config: urlConfig(`unix://${redis.socketPath}`) };
  const keys = new Keys('ferry');
  const scripts = new ScriptConnection(target, silent);
  await scripts.ready();
  takeMutant(scripts);
  const queues = new JobQueues(target, keys, silent);
  const subscriber = new Subscriber(target);
  const data = connectRedis(target, 'queue');
  data.on('error', () => undefined);
  const closing: (() => Promise<void>)[] = [];
  close = async () => {
    for (const one of closing) await one();
    await queues.close();
    subscriber.close();
    data.disconnect();
    await scripts.close();
  };
  return {
    redis,
    target,
    keys,
    scripts,
    order: new RouteOrder(scripts, keys),
    queues,
    subscriber,
    data,
    closing,
  };
}

/** `FERRY_MUTANT` is `name=file`: that script is taken from the file (`npm run mutants`). */
function takeMutant(scripts: ScriptConnection): void {
  const [name, file] = (process.env['FERRY_MUTANT'] ?? '').split('=');
  if (name === undefined || file === undefined) return;
  const numberOfKeys = SCRIPTS[name as ScriptName];
  scripts.client.defineCommand(`ferry_${name}`, { lua: readFileSync(file, 'utf8'), numberOfKeys });
}

export const STREAM = 'a'.repeat(32);

export function batch(sequence: number, fields: Partial<BatchJob> = {}): BatchJob {
  return {
    route: 'foo@replica',
    journal: 'foo',
    destination: 'replica',
    stream: STREAM,
    generation: 1,
    sequence,
    bytes: 10,
    sha256: String(sequence).padStart(64, '0'),
    sealedAtMs: 1_000 + sequence,
    payload: { kind: 'spool', file: '0000000001.log', offset: 0 },
    ...fields,
  };
}

export function blob(version: number, fields: Partial<BlobJob> = {}): BlobJob {
  return {
    route: 'foo@replica',
    journal: 'foo',
    destination: 'replica',
    stream: STREAM,
    link: '=1.img',
    text: '1/img',
    version,
    follows: 1,
    payload: { kind: 'file', path: '/nowhere' },
    ...fields,
  };
}

/** Opens the route from its first batch on. */
export async function openRoute(
  order: RouteOrder,
  fields: Partial<Parameters<RouteOrder['open']>[0]> = {},
): Promise<Awaited<ReturnType<RouteOrder['open']>>> {
  return order.open({
    route: 'foo@replica',
    stream: STREAM,
    generation: 1,
    waitMs: 0,
    intervalMs: 1_000,
    maxAttempts: 0,
    reset: { head: 1, previous: 0 },
    ...fields,
  });
}
