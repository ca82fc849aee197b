import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { beforeEach, type TestContext, test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import type { FerryConfig, JournalConfig, RouteTarget } from '../../src/config/model.js';
import { BatchStore } from '../../src/producers/batchStore.js';
import { RouteFeed } from '../../src/producers/routeFeed.js';
import { Spool } from '../../src/producers/spool/spool.js';
import type { QueueAccess } from '../../src/queue/access.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import { MemoryRoom } from '../../src/queue/memory.js';
import { SpoolPayloads } from '../../src/queue/payload/spoolPayloads.js';
import { openQueueFixture, silent } from '../queue/helpers.js';
import { temporaryDirectory } from '../spool/helpers.js';
import { failOnLeaks } from '../support/leaks.js';

const ROUTE = 'foo@replica';

const q = await openQueueFixture();
failOnLeaks();
beforeEach(() => q.redis.flushAll());

/** A journal with so many captured batches, its route, and what the feed asks Redis. */
async function captured(t: TestContext, count: number) {
  const stateDir = await temporaryDirectory(t);
  const spool = await Spool.open(join(stateDir, 'spool'), { journal: 'foo', bootId: 'boot' });
  t.after(() => spool.close());
  await spool.addRoute('replica', { after: 0 });
  const seal = async (): Promise<void> => {
    const payload = Buffer.from(`batch ${spool.nextSequence}`);
    await spool.seal({
      sequence: spool.nextSequence,
      bytes: payload.length,
      sha256: createHash('sha256').update(payload).digest('hex'),
      inode: 1,
      payload,
    });
    spool.publish();
  };
  for (let n = 0; n < count; n += 1) await seal();
  const asked: string[] = [];
  /** Called before Redis accepts one. */
  const hooks = { accept: (_job: BatchJob): void => undefined };
  const order = new Proxy(q.order, {
    get(target, name, receiver) {
      const value = Reflect.get(target, name, receiver);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        asked.push(String(name));
        if (name === 'accept') hooks.accept(args[0] as BatchJob);
        return value.apply(target, args);
      };
    },
  });
  const { queues, scripts } = q;
  const feed = new RouteFeed({
    config: { payloads: 'spool', stateDir, destinations: new Map() } as unknown as FerryConfig,
    journal: {
      name: 'foo',
      intervalMs: 1_000,
      attempts: null,
      limits: { ahead: 64, queuedBytes: 1024 * 1024 },
    } as unknown as JournalConfig,
    target: { destination: 'replica' } as RouteTarget,
    spool,
    store: new BatchStore(spool, stateDir),
    access: { order, queues, scripts, memory: new MemoryRoom(scripts) } as unknown as QueueAccess,
    payloads: new SpoolPayloads(stateDir),
    formerStreams: new Set(),
    log: silent,
    onReset: () => undefined,
  });
  return { spool, seal, feed, asked, hooks };
}

async function jobStates(sequences: readonly number[]): Promise<string[]> {
  const jobs = await q.queues.batches.getJobs();
  const states = new Map<number, string>();
  for (const job of jobs) states.set(job.data.sequence, await job.getState());
  return sequences.map((sequence) => states.get(sequence) ?? 'none');
}

test('a route is opened, and its head is ready to run before those behind it', async (t) => {
  const { feed, spool } = await captured(t, 3);
  await feed.step();
  assert.equal(feed.isOpen, true);
  assert.deepEqual(await jobStates([1, 2, 3]), ['waiting', 'delayed', 'delayed']);
  assert.equal(spool.route('replica')?.accepted, 3);
  assert.equal(feed.isIdle, false);
});

test('a batch that is captured on an idle route costs no question but its own', async (t) => {
  const { feed, seal, asked } = await captured(t, 0);
  await feed.step();
  await seal();
  asked.length = 0;
  await feed.feed();
  assert.deepEqual(asked, ['accept']);
  assert.deepEqual(await jobStates([1]), ['waiting']);
});

test('what was accepted before a batch that fails has its job at once', async (t) => {
  const { feed, hooks } = await captured(t, 3);
  hooks.accept = ({ sequence }) => {
    if (sequence === 3) throw new FerryError('REDIS_FULL', 'told to', { kind: 'redis' });
  };
  await assert.rejects(feed.step(), { code: 'REDIS_FULL' });
  assert.deepEqual(await jobStates([1, 2, 3]), ['waiting', 'delayed', 'none']);
  hooks.accept = () => undefined;
  await feed.step();
  assert.deepEqual(await jobStates([1, 2, 3]), ['waiting', 'delayed', 'delayed']);
});

test('a route that Redis lost is sent again from its last recorded ack, in a new generation', async (t) => {
  const { feed, spool } = await captured(t, 2);
  await feed.step();
  await spool.recordAck('replica', 1);
  await q.redis.flushAll();
  feed.close();
  await feed.step();
  const state = await q.order.state(ROUTE);
  assert.deepEqual([state?.generation, state?.head, state?.tail], [2, 2, 2]);
  assert.equal(spool.route('replica')?.generation, 2);
});
