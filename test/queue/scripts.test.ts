import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { beginChain, extended } from '../../src/common/chain.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import { LEASE_MS } from '../../src/queue/routeOrder.js';
import { failOnLeaks } from '../support/leaks.js';
import { batch, blob, openQueueFixture, openRoute, STREAM } from './helpers.js';

const NO_ERROR = { code: 'X', message: 'x', at: 0 };
const failed = {
  error: NO_ERROR,
  resend: true,
  echoed: false,
  counted: true,
  uncertain: false,
};

const q = await openQueueFixture();
const { order } = q;
failOnLeaks();

describe('the scripts of a route', () => {
  beforeEach(async () => {
    await q.redis.flushAll();
  });

  async function accepted(...sequences: number[]): Promise<BatchJob[]> {
    const jobs = sequences.map((sequence) => batch(sequence));
    for (const job of jobs) assert.equal((await order.accept(job)).is, 'accepted');
    return jobs;
  }

  async function acked(job: BatchJob, holder = 'w1'): Promise<void> {
    assert.equal((await order.begin(job, holder)).is, 'go');
    assert.equal((await order.ack(job, holder)).is, 'acked');
  }

  describe('open', () => {
    it('creates a route and says where it stands', async () => {
      assert.deepEqual(await openRoute(order), { is: 'open', head: 1, tail: 0 });
    });

    it('refuses to resume a route that Redis does not know', async () => {
      const answer = await order.open({
        route: 'foo@replica',
        stream: STREAM,
        generation: 1,
        waitMs: 0,
        intervalMs: 1,
        maxAttempts: 0,
      });
      assert.deepEqual(answer, { is: 'differs', stream: '', generation: '' });
    });

    it('refuses to rewind to the generation that is open already', async () => {
      await openRoute(order);
      await accepted(1);
      const answer = await openRoute(order);
      assert.equal(answer.is, 'differs');
      assert.equal((await order.state('foo@replica'))?.tail, 1);
    });

    it('rewinds with a later generation, and forgets what was accepted', async () => {
      await openRoute(order);
      const [first] = await accepted(1, 2);
      await acked(first as BatchJob);
      const answer = await openRoute(order, { generation: 2, reset: { head: 2, previous: 1 } });
      assert.deepEqual(answer, { is: 'open', head: 2, tail: 1 });
      assert.equal(await order.accepted('foo@replica', 2), null);
      assert.equal((await order.accept(batch(2))).is, 'foreign');
      assert.equal((await order.accept(batch(2, { generation: 2 }))).is, 'accepted');
    });

    it('asks for the last confirmed batch before the head when it rewinds', async () => {
      await openRoute(order);
      const [first] = await accepted(1);
      await acked(first as BatchJob);
      const repeat = { job: batch(1, { generation: 2 }), previous: 0 };
      await openRoute(order, { generation: 2, reset: { head: 2, previous: 1, repeat } });
      await order.accept(batch(2, { generation: 2 }));
      const go = await order.begin(batch(2, { generation: 2 }), 'w1');
      assert.ok(go.is === 'go' && go.previous === 1);
      assert.deepEqual(go.repeat, repeat);
    });

    it('lets nobody begin before the wait is over', async () => {
      await openRoute(order, { waitMs: 60_000 });
      const [job] = await accepted(1);
      const answer = await order.begin(job as BatchJob, 'w1');
      assert.equal(answer.is, 'wait');
      assert.ok(answer.is === 'wait' && answer.ms > 50_000 && answer.ms <= 60_000);
    });
  });

  describe('accept', () => {
    it('refuses a route that was never opened, or was opened for another Redis run', async () => {
      assert.equal((await order.accept(batch(1))).is, 'closed');
      await openRoute(order);
      await q.data.hset(q.keys.route('foo@replica'), 'run', 'another');
      assert.equal((await order.accept(batch(1))).is, 'closed');
    });

    it('takes a batch once and calls the second time a duplicate', async () => {
      await openRoute(order);
      assert.deepEqual(await order.accept(batch(1)), { is: 'accepted', head: 1 });
      assert.deepEqual(await order.accept(batch(1)), { is: 'duplicate', head: 1 });
    });

    it('refuses a gap, another digest, a foreign stream and a foreign generation', async () => {
      await openRoute(order);
      await accepted(1);
      assert.deepEqual(await order.accept(batch(3)), { is: 'gap', tail: 1 });
      assert.equal((await order.accept(batch(1, { sha256: 'f'.repeat(64) }))).is, 'conflict');
      assert.equal((await order.accept(batch(1, { stream: 'b'.repeat(32) }))).is, 'foreign');
      assert.equal((await order.accept(batch(2, { generation: 9 }))).is, 'foreign');
    });
  });

  describe('begin', () => {
    it('lets only the head go', async () => {
      await openRoute(order);
      const [first, second] = (await accepted(1, 2)) as [BatchJob, BatchJob];
      assert.equal((await order.begin(second, 'w1')).is, 'park');
      const go = await order.begin(first, 'w1');
      assert.deepEqual(go, {
        is: 'go',
        epoch: 1,
        previous: 0,
        attempts: 0,
        repeat: null,
        chain: beginChain(1),
      });
    });

    it('parks a batch that was never accepted, although it is the head by number', async () => {
      await openRoute(order);
      assert.equal((await order.begin(batch(1), 'w1')).is, 'park');
    });

    it('makes a second holder wait for the lease', async () => {
      await openRoute(order);
      const [job] = (await accepted(1)) as [BatchJob];
      await order.begin(job, 'w1');
      const answer = await order.begin(job, 'w2');
      assert.ok(answer.is === 'wait' && answer.ms > 0 && answer.ms <= LEASE_MS);
    });

    it('calls a confirmed batch delivered, an old generation stale, a lost route closed', async () => {
      await openRoute(order);
      const [job] = (await accepted(1)) as [BatchJob];
      await acked(job);
      assert.equal((await order.begin(job, 'w1')).is, 'delivered');
      assert.equal((await order.begin(batch(2, { generation: 7 }), 'w1')).is, 'stale');
      await q.redis.flushAll();
      assert.equal((await order.begin(job, 'w1')).is, 'closed');
    });

    it('parks everything of a paused route', async () => {
      await openRoute(order);
      const [job] = (await accepted(1)) as [BatchJob];
      await order.hold('foo@replica', 'pause');
      assert.equal((await order.begin(job, 'w1')).is, 'park');
      await order.hold('foo@replica', 'resume');
      assert.equal((await order.begin(job, 'w1')).is, 'go');
    });

    it('clears a block, because somebody retried the batch', async () => {
      await openRoute(order, { maxAttempts: 1 });
      const [job] = (await accepted(1)) as [BatchJob];
      await order.begin(job, 'w1');
      assert.deepEqual(await order.fail(job, 'w1', failed), { is: 'blocked', attempts: 1 });
      assert.equal((await order.state('foo@replica'))?.blocked, 1);
      const go = await order.begin(job, 'w2');
      assert.ok(go.is === 'go' && go.attempts === 0);
      assert.equal((await order.state('foo@replica'))?.blocked, null);
    });
  });

  describe('renew and release', () => {
    it('serve the present holder only', async () => {
      await openRoute(order);
      const [job] = (await accepted(1)) as [BatchJob];
      await order.begin(job, 'w1');
      assert.equal(await order.renew(job, 'w1'), true);
      assert.equal(await order.renew(job, 'w2'), false);
      assert.equal(await order.release(job, 'w2'), false);
      assert.equal((await order.begin(job, 'w2')).is, 'wait');
      assert.equal(await order.release(job, 'w1'), true);
      assert.equal((await order.begin(job, 'w2')).is, 'go');
      assert.equal(await order.renew(job, 'w1'), false);
    });
  });

  describe('fail', () => {
    it('counts, gives the lease back, and tells the interval', async () => {
      await openRoute(order);
      const [job] = (await accepted(1)) as [BatchJob];
      await order.begin(job, 'w1');
      const answer = await order.fail(job, 'w1', failed);
      assert.deepEqual(answer, { is: 'retry', attempts: 1, intervalMs: 1_000 });
      assert.equal((await order.begin(job, 'w2')).is, 'go');
    });

    it('does not count what was not the destination', async () => {
      await openRoute(order, { maxAttempts: 1 });
      const [job] = (await accepted(1)) as [BatchJob];
      await order.begin(job, 'w1');
      const answer = await order.fail(job, 'w1', { ...failed, counted: false });
      assert.deepEqual(answer, { is: 'retry', attempts: 0, intervalMs: 1_000 });
      assert.equal((await order.state('foo@replica'))?.error?.code, 'X');
    });

    it('is stale for a holder whose lease was taken over', async () => {
      await openRoute(order);
      const [job] = (await accepted(1)) as [BatchJob];
      await order.begin(job, 'w1');
      await order.release(job, 'w1');
      await order.begin(job, 'w2');
      assert.deepEqual(await order.fail(job, 'w1', failed), { is: 'stale' });
    });

    it('never asks for the previous batch again once the far side answered this one', async () => {
      await openRoute(order);
      const [first, second] = (await accepted(1, 2)) as [BatchJob, BatchJob];
      await acked(first);
      await order.begin(second, 'w1');
      await order.fail(second, 'w1', { ...failed, resend: false, echoed: true, uncertain: true });
      await order.begin(second, 'w2');
      await order.fail(second, 'w2', failed);
      const again = await order.begin(second, 'w3');
      assert.ok(again.is === 'go' && again.repeat === null);
    });

    it('asks for the previous batch once more, until it was repeated', async () => {
      await openRoute(order);
      const [first, second] = (await accepted(1, 2)) as [BatchJob, BatchJob];
      await acked(first);
      await order.begin(second, 'w1');
      await order.fail(second, 'w1', failed);
      const again = await order.begin(second, 'w2');
      assert.ok(again.is === 'go' && again.repeat?.job.sequence === 1);
      await order.repeated(second, 'w2');
      await order.release(second, 'w2');
      const after = await order.begin(second, 'w3');
      assert.ok(after.is === 'go' && after.repeat === null);
    });
  });

  describe('ack', () => {
    it('moves the head, and answers the same holder alike when asked again', async () => {
      await openRoute(order);
      const [first] = (await accepted(1, 2)) as [BatchJob];
      await order.begin(first, 'w1');
      const answer = await order.ack(first, 'w1');
      assert.deepEqual(answer, { is: 'acked', head: 2, tail: 2, blobs: [] });
      assert.deepEqual(await order.ack(first, 'w1'), answer);
      const state = await order.state('foo@replica');
      assert.deepEqual([state?.head, state?.previous, state?.batches, state?.bytes], [2, 1, 1, 10]);
    });

    it('is stale for another holder, another generation and a batch that is not the head', async () => {
      await openRoute(order);
      const [first, second] = (await accepted(1, 2)) as [BatchJob, BatchJob];
      await order.begin(first, 'w1');
      assert.equal((await order.ack(first, 'w2')).is, 'stale');
      assert.equal((await order.ack(second, 'w1')).is, 'stale');
      assert.equal((await order.ack(batch(1, { generation: 2 }), 'w1')).is, 'stale');
      assert.equal((await order.state('foo@replica'))?.head, 1);
    });

    it('keeps the confirmed batch until its successor is confirmed, payload and all', async () => {
      await openRoute(order);
      const prefix = q.keys.chunks('one');
      const chunks = { kind: 'chunks', count: 2, prefix } as const;
      await order.accept(batch(1, { payload: chunks }));
      await order.accept(batch(2));
      await q.data.mset(`${prefix}0`, 'x', `${prefix}1`, 'y');
      await acked(batch(1));
      assert.equal(await q.data.exists(`${prefix}0`, `${prefix}1`), 2);
      assert.notEqual(await order.accepted('foo@replica', 1), null);
      await acked(batch(2));
      assert.equal(await q.data.exists(`${prefix}0`, `${prefix}1`), 0);
      assert.equal(await order.accepted('foo@replica', 1), null);
    });

    it('tells which parked blobs may run now', async () => {
      await openRoute(order);
      const [first] = (await accepted(1)) as [BatchJob];
      assert.equal((await order.beginBlob(blob(1), 'blob-1', 'w1')).is, 'park');
      await order.begin(first, 'w1');
      const answer = await order.ack(first, 'w1');
      assert.deepEqual(answer.is === 'acked' && answer.blobs, ['blob-1']);
    });

    it('keeps the chain of digests that its holders make, and none that was left behind', async () => {
      await openRoute(order);
      const [first, second] = (await accepted(1, 2)) as [BatchJob, BatchJob];
      const go = await order.begin(first, 'w1');
      assert.deepEqual(go.is === 'go' && go.chain, beginChain(1));
      const chain = extended(beginChain(1), 1, first.sha256);
      await order.ack(first, 'w1', chain);
      assert.deepEqual((await order.state('foo@replica'))?.chain, chain);
      const next = await order.begin(second, 'w2');
      assert.deepEqual(next.is === 'go' && next.chain, chain);
      // A worker of an older version moves the route on and does not touch the field.
      await q.data.hset(q.keys.route('foo@replica'), 'head', 3, 'previous', 2);
      assert.equal((await order.state('foo@replica'))?.chain, null);
    });

    it('goes on with a route that an older version opened, and takes the spool’s chain up', async () => {
      await openRoute(order);
      const [first, second] = (await accepted(1, 2)) as [BatchJob, BatchJob];
      await acked(first);
      await q.data.hdel(q.keys.route('foo@replica'), 'chain', 'skipped');
      const go = await order.begin(second, 'w2');
      assert.deepEqual(go.is === 'go' && go.chain, null);
      await order.release(second, 'w2');
      const chain = beginChain(2, 1);
      const resume = { route: 'foo@replica', stream: STREAM, generation: 1, waitMs: 0 };
      await order.open({ ...resume, intervalMs: 1, maxAttempts: 0, chain });
      assert.deepEqual((await order.state('foo@replica'))?.chain, chain);
      assert.equal(await q.data.hget(q.keys.route('foo@replica'), 'skipped'), '0');
    });

    it('tells producers', async () => {
      await openRoute(order);
      const [first] = (await accepted(1)) as [BatchJob];
      const news = new Promise<string>((resolve) => {
        q.subscriber.listen(q.keys.news(), resolve);
      });
      while ((await q.data.pubsub('NUMSUB', q.keys.news()))[1] === 0) {
        // the subscription is on its way; asking is the only way to know
      }
      await acked(first);
      assert.equal(await news, 'ack foo@replica');
    });
  });

  describe('skip', () => {
    async function blockedAt2(): Promise<void> {
      await openRoute(order, { maxAttempts: 1 });
      const [first, second] = await accepted(1, 2, 3);
      await acked(first as BatchJob);
      assert.equal((await order.begin(second as BatchJob, 'w2')).is, 'go');
      assert.equal((await order.fail(second as BatchJob, 'w2', failed)).is, 'blocked');
    }

    it('moves the route on behind what was confirmed, and asks for no repeat of that', async () => {
      await blockedAt2();
      const skipped = { is: 'skipped', head: 3, tail: 3, confirmed: false, blobs: [] };
      assert.deepEqual(await order.skip('foo@replica', 1, 2), skipped);
      assert.deepEqual(await order.skip('foo@replica', 1, 2), skipped, 'asked again');
      assert.equal(await order.accepted('foo@replica', 2), null);
      assert.equal((await order.accepted('foo@replica', 1))?.sequence, 1);
      const go = await order.begin(batch(3), 'w3');
      assert.deepEqual(go, {
        is: 'go',
        epoch: 3,
        previous: 1,
        attempts: 0,
        repeat: null,
        chain: null,
      });
      assert.equal((await order.fail(batch(3), 'w3', failed)).is, 'blocked');
      const again = await order.begin(batch(3), 'w4');
      assert.ok(again.is === 'go' && again.repeat === null, '2 may have been applied, 1 is older');
      await order.ack(batch(3), 'w4');
      assert.equal(await order.accepted('foo@replica', 1), null, 'freed with its successor');
      assert.equal((await order.state('foo@replica'))?.previous, 3);
    });

    it('knows whether the batch was confirmed before, however far the route has come', async () => {
      await blockedAt2();
      await acked(batch(2), 'w3');
      await acked(batch(3), 'w4');
      const late = await order.skip('foo@replica', 1, 2);
      assert.deepEqual(late, { is: 'skipped', head: 4, tail: 3, confirmed: true, blobs: [] });
      // An older version opened the route: nothing is claimed.
      await q.data.hdel(q.keys.route('foo@replica'), 'skipped');
      const old = await order.skip('foo@replica', 1, 2);
      assert.ok(old.is === 'skipped' && !old.confirmed);
    });

    it('waits for whoever sends the batch, and knows a wrong number and generation', async () => {
      await blockedAt2();
      assert.deepEqual(await order.skip('foo@replica', 1, 3), { is: 'behind', head: 2 });
      assert.deepEqual(await order.skip('foo@replica', 2, 2), { is: 'stale' });
      assert.deepEqual(await order.skip('bar@replica', 1, 2), { is: 'stale' });
      assert.equal((await order.begin(batch(2), 'w3')).is, 'go');
      const wait = await order.skip('foo@replica', 1, 2);
      assert.ok(wait.is === 'wait' && wait.ms > 0 && wait.ms <= LEASE_MS);
      await order.release(batch(2), 'w3');
      assert.equal((await order.skip('foo@replica', 1, 2)).is, 'skipped');
      assert.equal((await order.ack(batch(2), 'w3')).is, 'stale');
    });

    it('repeats the batch behind a skipped one with what was confirmed before it', async () => {
      await blockedAt2();
      await order.skip('foo@replica', 1, 2);
      await acked(batch(3), 'w3');
      await order.accept(batch(4));
      await order.begin(batch(4), 'w4');
      await order.fail(batch(4), 'w4', failed);
      const again = await order.begin(batch(4), 'w5');
      assert.ok(again.is === 'go');
      assert.deepEqual([again.repeat?.job.sequence, again.repeat?.previous], [3, 1]);
    });

    it('frees the payload of what was given up, and tells which blobs may run', async () => {
      await openRoute(order, { maxAttempts: 1 });
      const payload = { kind: 'chunks', count: 2, prefix: q.keys.chunks('x') } as const;
      for (const n of [0, 1]) await q.data.set(`${payload.prefix}${n}`, 'bytes');
      await order.accept(batch(1, { payload }));
      assert.equal((await order.beginBlob(blob(1), 'blob-1', 'b1')).is, 'park');
      const answer = await order.skip('foo@replica', 1, 1);
      const { blobs, ...rest } = answer.is === 'skipped' ? answer : assert.fail();
      assert.deepEqual(rest, { is: 'skipped', head: 2, tail: 1, confirmed: false });
      assert.deepEqual(blobs, ['blob-1']);
      assert.equal(await q.data.exists(`${payload.prefix}0`, `${payload.prefix}1`), 0);
    });
  });

  describe('beginBlob and endBlob', () => {
    it('send a version once, and nobody else meanwhile', async () => {
      await openRoute(order);
      const [first] = (await accepted(1)) as [BatchJob];
      await acked(first);
      assert.equal((await order.beginBlob(blob(1), 'b', 'w1')).is, 'go');
      assert.equal((await order.beginBlob(blob(1), 'b', 'w2')).is, 'wait');
      const sent = { inode: 1, bytes: 2, mtimeMs: 3, crc32: null };
      assert.equal(await order.endBlob(blob(1), 'w2', { confirm: sent }), false);
      assert.equal(await order.endBlob(blob(1), 'w1', 'renew'), true);
      assert.equal(await order.endBlob(blob(1), 'w1', { confirm: sent }), true);
      assert.equal((await order.beginBlob(blob(1), 'b', 'w2')).is, 'delivered');
      assert.equal((await order.beginBlob(blob(2), 'b2', 'w2')).is, 'go');
      const states = await order.blobStates('foo@replica', STREAM);
      assert.deepEqual([...states.confirmed.values()], [{ version: 1, sent }]);
      assert.equal(states.failing, 0);
      const away = { code: 'CONNECTION_REFUSED', message: 'no', at: 1 };
      assert.equal(await order.endBlob(blob(2), 'w2', { release: away }), true);
      assert.equal((await order.blobStates('foo@replica', STREAM)).failing, 0);
      assert.equal((await order.beginBlob(blob(2), 'b2', 'w2')).is, 'go');
      const error = { code: 'BLOB_NOT_A_FILE', message: 'no', at: 1 };
      assert.equal(await order.endBlob(blob(2), 'w2', { release: error }), true);
      assert.equal((await order.blobStates('foo@replica', STREAM)).failing, 1);
      assert.equal((await order.blobStates('foo@replica', 'b'.repeat(32))).failing, 0);
      assert.equal((await order.beginBlob(blob(2), 'b2', 'w3')).is, 'go');
      assert.equal(await order.endBlob(blob(2), 'w3', { confirm: sent }), true);
      assert.equal((await order.blobStates('foo@replica', STREAM)).failing, 0);
    });

    it('wait for the batch before, and know a foreign stream', async () => {
      await openRoute(order);
      assert.equal((await order.beginBlob(blob(1), 'b', 'w1')).is, 'park');
      const foreign = blob(1, { stream: 'b'.repeat(32) });
      assert.equal((await order.beginBlob(foreign, 'b', 'w1')).is, 'stale');
      await q.redis.flushAll();
      assert.equal((await order.beginBlob(blob(1), 'b', 'w1')).is, 'closed');
    });
  });
});
