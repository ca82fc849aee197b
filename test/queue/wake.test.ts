import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { UnrecoverableError, Worker } from '../../src/queue/bullmq.js';
import { blobKey } from '../../src/queue/jobs.js';
import { batchJobId, blobJobId } from '../../src/queue/keys.js';
import { promoteHead, wakeHead } from '../../src/queue/wake.js';
import { failOnLeaks } from '../support/leaks.js';
import { batch, blob, openQueueFixture, openRoute } from './helpers.js';

const q = await openQueueFixture();
failOnLeaks();

const id = (sequence: number): string => batchJobId('foo@replica', 1, sequence);
const stateOf = (sequence: number): Promise<string> => q.queues.batches.getJobState(id(sequence));

describe('the head of a route', () => {
  beforeEach(async () => {
    await q.redis.flushAll();
    await openRoute(q.order);
    for (const sequence of [1, 2]) {
      await q.order.accept(batch(sequence));
      await q.queues.addBatch(batch(sequence), true);
    }
  });

  it('that was parked by mistake is woken, its successor is not', async () => {
    await wakeHead(q.order, q.queues, 'foo@replica');
    assert.equal(await stateOf(1), 'waiting');
    assert.equal(await stateOf(2), 'delayed');
  });

  it('whose job was removed by hand comes back', async () => {
    await q.queues.batches.remove(id(1));
    await wakeHead(q.order, q.queues, 'foo@replica');
    assert.equal(await stateOf(1), 'waiting');
    assert.equal((await q.queues.batches.getJob(id(1)))?.data.sequence, 1);
  });

  it('that waits for its retry is left alone', async () => {
    await q.queues.batches.remove(id(1));
    await q.queues.batches.add('batch', batch(1), { jobId: id(1), delay: 20_000 });
    await wakeHead(q.order, q.queues, 'foo@replica');
    assert.equal(await stateOf(1), 'delayed');
  });

  it('of a paused route sleeps on', async () => {
    await q.order.hold('foo@replica', 'pause');
    await wakeHead(q.order, q.queues, 'foo@replica');
    assert.equal(await stateOf(1), 'delayed');
  });

  it('of a route that Redis does not know, or that is empty, is nothing', async () => {
    await wakeHead(q.order, q.queues, 'nobody@nowhere');
    await q.redis.flushAll();
    await wakeHead(q.order, q.queues, 'foo@replica');
  });

  it('is promoted after an ack, or brought back when its job is gone', async () => {
    const first = await q.order.begin(batch(1), 'w1');
    assert.equal(first.is, 'go');
    await q.order.ack(batch(1), 'w1');
    const head = { route: 'foo@replica', generation: 1, sequence: 2 };
    await q.queues.batches.remove(id(2));
    await promoteHead(q.order, q.queues, head);
    assert.equal(await stateOf(2), 'waiting');
    await promoteHead(q.order, q.queues, head); // awake already
    assert.equal(await stateOf(2), 'waiting');
  });
});

describe('blobs whose batch is confirmed', () => {
  const FAR_MS = 300 * 24 * 3_600_000;
  const many = Array.from({ length: 150 }, (_, n) => blob(n + 1, { link: `=${n + 1}` }));
  const idOf = ({ route, stream, link, version }: (typeof many)[number]): string =>
    blobJobId(route, stream, blobKey(link), version);
  const stateOfBlob = (n: number): Promise<string> =>
    q.queues.blobs.getJobState(idOf(many[n] as (typeof many)[number]));
  /** Runs the next one that waits, and ends it so. */
  const end = async (how: 'completed' | 'failed'): Promise<number> => {
    const worker = new Worker(q.queues.blobs.name, null, {
      connection: q.queues.blobs.opts.connection,
      prefix: q.keys.tag,
      skipVersionCheck: true,
    });
    try {
      const job = await worker.getNextJob('token');
      assert.ok(job);
      if (how === 'completed') await job.moveToCompleted('', 'token', false);
      else await job.moveToFailed(new UnrecoverableError('no'), 'token', false);
      return many.findIndex((one) => idOf(one) === job.id);
    } finally {
      await worker.close();
    }
  };

  beforeEach(() => q.redis.flushAll());

  it('are woken in bulk: what is gone comes back, what sleeps for ever runs, what is over is told', async () => {
    await q.queues.addBlobs(many);
    const over = await end('completed');
    const failed = await end('failed');
    const [parked = 0, retried = 0, gone = 0, waiting = 0] = many
      .map((_, n) => n)
      .filter((n) => n !== over && n !== failed)
      .slice(-4);
    for (const [n, delay] of [
      [parked, FAR_MS],
      [retried, 20_000],
    ] as const) {
      const one = many[n] as (typeof many)[number];
      await q.queues.blobs.remove(idOf(one));
      await q.queues.blobs.add('blob', one, { jobId: idOf(one), delay });
    }
    await q.queues.blobs.remove(idOf(many[gone] as (typeof many)[number]));
    assert.deepEqual(await Promise.all([over, failed, parked, retried, gone].map(stateOfBlob)), [
      'completed',
      'failed',
      'delayed',
      'delayed',
      'unknown',
    ]);

    const ended = await q.queues.wakeBlobs(many);
    assert.deepEqual(ended, [many[over]]);
    assert.equal(await stateOfBlob(over), 'completed');
    await q.queues.rerunBlobs(ended);
    assert.equal(await stateOfBlob(retried), 'delayed', 'it comes back by itself');
    for (const n of [over, failed, parked, gone, waiting]) {
      assert.equal(await stateOfBlob(n), 'waiting', `blob ${n + 1}`);
    }
    assert.equal(await q.queues.blobs.getWaitingCount(), many.length - 1);
    assert.deepEqual(await q.queues.wakeBlobs([]), []);
  });
});
