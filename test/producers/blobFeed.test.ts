import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, type TestContext, test } from 'node:test';
import type { FerryConfig } from '../../src/config/model.js';
import { BlobFeed } from '../../src/producers/blobFeed.js';
import { Spool } from '../../src/producers/spool/spool.js';
import type { QueueAccess } from '../../src/queue/access.js';
import { type Job, Worker } from '../../src/queue/bullmq.js';
import type { BlobJob, BlobSent } from '../../src/queue/jobs.js';
import { openQueueFixture, openRoute, silent } from '../queue/helpers.js';
import { temporaryDirectory } from '../spool/helpers.js';
import { failOnLeaks } from '../support/leaks.js';

const q = await openQueueFixture();
failOnLeaks();
const worker = new Worker<BlobJob>(q.queues.blobs.name, null, {
  connection: q.queues.blobs.opts.connection,
  prefix: q.keys.tag,
  skipVersionCheck: true,
});
q.closing.push(() => worker.close());
beforeEach(() => q.redis.flushAll());

/** A journal `foo` with so many announced blobs, and its feed to one destination. */
async function announced(t: TestContext, count: number) {
  const dir = await temporaryDirectory(t);
  await mkdir(join(dir, 'blob'));
  for (let n = 1; n <= count; n += 1) {
    await writeFile(join(dir, 'blob', `${n}.x`), String(n));
    await symlink(`${n}.x`, join(dir, 'blob', `=${n}`));
  }
  const spool = await Spool.open(join(dir, 'spool'), { journal: 'foo', bootId: 'boot' });
  t.after(() => spool.close());
  await spool.addRoute('replica', { after: 0 });
  await openRoute(q.order, { stream: spool.stream });
  const start = (): BlobFeed =>
    new BlobFeed({
      config: { payloads: 'spool' } as FerryConfig,
      journal: 'foo',
      dir: join(dir, 'blob'),
      intervalMs: 60_000,
      isWatched: () => true,
      everyLink: false,
      wanted: new Set(['replica']),
      spool,
      access: { order: q.order, queues: q.queues } as unknown as QueueAccess,
      log: silent,
    });
  const feed = start();
  await feed.take(await feed.scan(), 0);
  return { dir, spool, feed, start };
}

async function next(): Promise<Job<BlobJob>> {
  const job = (await worker.getNextJob('token')) as Job<BlobJob> | undefined;
  assert.ok(job);
  return job;
}

/** What a worker does, as far as Redis hears of it. */
async function send(dir: string): Promise<Job<BlobJob>> {
  const job = await next();
  assert.equal((await q.order.beginBlob(job.data, String(job.id), 'w')).is, 'go');
  const file = await stat(join(dir, 'blob', job.data.text));
  const { ino: inode, size: bytes, mtimeMs } = file;
  const sent: BlobSent = { inode, bytes, mtimeMs, crc32: null };
  assert.equal(await q.order.endBlob(job.data, 'w', { confirm: sent }), true);
  await job.moveToCompleted('', 'token', false);
  return job;
}

test('a blob that was confirmed a moment ago is not sent again by a wake-up in between', async (t) => {
  const { dir, feed, spool } = await announced(t, 1);
  await feed.step();
  const job = await send(dir);
  await feed.wake();
  assert.equal(await job.getState(), 'completed');
  feed.hasNews();
  await feed.step();
  assert.equal(feed.pending, false);
  assert.ok(!existsSync(join(dir, 'blob', '=1')));
  assert.deepEqual([...spool.pendingBlobs()], []);
});

test('one whose job is over without a confirmation runs again', async (t) => {
  const { feed } = await announced(t, 1);
  await feed.step();
  const job = await next();
  await job.moveToCompleted('', 'token', false);
  await feed.wake();
  assert.equal(await job.getState(), 'waiting');
});

test('a producer that starts again wakes what sleeps, takes over what was confirmed, and adds what is gone', async (t) => {
  const { dir, feed, start } = await announced(t, 3);
  await feed.step();
  const confirmed = await send(dir);
  const parked = await next();
  await parked.moveToDelayed(Date.now() + 300 * 24 * 3_600_000, 'token');
  const [gone] = await q.queues.blobs.getWaiting();
  await gone?.remove();
  const again = start();
  assert.equal(again.stepInMs, 0);
  await again.step();
  assert.equal(await parked.getState(), 'waiting');
  assert.equal(await q.queues.blobs.getJobState(String(gone?.id)), 'waiting');
  assert.equal(await confirmed.getState(), 'completed');
  assert.ok(!existsSync(join(dir, 'blob', confirmed.data.link)));
});

test('a blob whose link is made anew while it waits goes under its new version', async (t) => {
  const { dir, feed, spool } = await announced(t, 1);
  await feed.step();
  await spool.recordBlobSeen('=1', { text: '1.x', version: 7, afterSequence: 0 });
  await feed.step();
  const versions = [(await next()).data.version, (await next()).data.version];
  assert.deepEqual(versions, [1, 7]);
  assert.ok(existsSync(join(dir, 'blob', '=1')));
});

test('confirmations are gathered, and what is announced goes at once', async (t) => {
  const { feed } = await announced(t, 1);
  assert.equal(feed.stepInMs, 0);
  await feed.step();
  assert.ok(feed.stepInMs > 50_000, 'nothing to do until the next look at all');
  feed.hasNews();
  assert.ok(feed.stepInMs > 0 && feed.stepInMs <= 50);
  feed.forgetJobs();
  assert.equal(feed.stepInMs, 0);
});
