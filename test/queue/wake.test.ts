import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { batchJobId } from '../../src/queue/keys.js';
import { promoteHead, wakeHead } from '../../src/queue/wake.js';
import { failOnLeaks } from '../support/leaks.js';
import { batch, openQueueFixture, openRoute } from './helpers.js';

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
