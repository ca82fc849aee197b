import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CRASH_POINTS, type CrashPoint } from '../../src/common/crashPoints.js';
import { failOnLeaks } from '../support/leaks.js';
import type { TestProcess } from '../support/process.js';
import { until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

const [killed, shared] = [await startTestRedis({ tcp: true }), await startTestRedis({ tcp: true })];
failOnLeaks();

/** A point that is not reached within so many rounds is not on the way. */
const ROUNDS_MAX = 1_500;
const ROUND_PAUSE_MS = 10;
const POINTS_MS = 120_000;

/** Large enough for some batches to be stored in Redis, small enough for others to go by window. */
const LIMITS = 'limits: {queued: 64KiB}';
const SMALL = 3_000;
const LARGE = 100_000;

const pointsOf = (...areas: readonly string[]): CrashPoint[] =>
  CRASH_POINTS.filter((point) => areas.includes(point.split('.')[0] ?? ''));

describe('with payloads in Redis', { concurrency: true }, () => {
  it('a Redis that is killed at each point of feeding and sending comes back, and nothing is lost, doubled or out of order', async () => {
    const points = pointsOf('feed', 'worker', 'producer', 'blob', 'transfer');
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      redis: killed.tcpUrl,
      payloads: 'redis',
      destinations: { replica: { port } },
      journals: [
        `name: foo, path: fifo/foo, blobs: blob/foo/, to: replica, interval: 200ms, ${LIMITS}`,
      ],
    });
    await mkdir(site.path('blob/foo'), { recursive: true });
    const sender = await site.start('run', {
      env: {
        // The second passing: at the first there is nothing before it. Of blobs each is the first.
        FERRY_CRASH_AT: points.map((p) => `${p}:${p.startsWith('blob') ? 1 : 2}`).join(','),
        FERRY_CRASH_PID_FILE: killed.pidFile,
      },
    });
    const isHit = (point: CrashPoint): boolean =>
      sender.stderr.split('\n').includes(`crash point ${point}`);
    // Each point is one kill; one may come while the server is still starting.
    let starts = 0;
    const revive = async (): Promise<void> => {
      while (killed.isDead) {
        starts += 1;
        await killed.start().catch((error: unknown) => {
          if (!killed.isDead) throw error;
        });
      }
    };
    const writer = new Writer(site.path('fifo/foo'));
    const blobs: { link: string; text: string; content: Buffer }[] = [];
    // A job that the server was handing out when it died runs again after some 15 s only.
    const deadline = performance.now() + POINTS_MS;
    for (let round = 0; !points.every(isHit); round += 1) {
      assert.ok(
        performance.now() < deadline,
        `not hit: ${points.filter((point) => !isHit(point))}\n${sender.output}`,
      );
      assert.ok(!sender.isOver, sender.output);
      await writer.commit(round % 10 === 0 ? LARGE : SMALL);
      if (round % 20 === 0) {
        const blob = { link: `=${round}.img`, text: `${round}.img`, content: randomBytes(5_000) };
        await announceBlob(site.path('blob/foo'), blob.link, blob.text, blob.content);
        blobs.push(blob);
      }
      await revive();
      await sleep(ROUND_PAUSE_MS);
    }
    // The point is said before this process hears of the death.
    if (starts < points.length) await until('the last kill is seen', () => killed.isDead);
    await revive();
    await writer.commit();
    await site.arrived('foo', writer.written);
    for (const { link, text, content } of blobs) {
      const isGone = () => !existsSync(site.path('blob/foo', link));
      await until(`${link} is gone`, isGone, ARRIVAL_MS);
      assert.deepEqual(await site.receivedBlob('foo', text), content);
    }
    assert.deepEqual(await sender.kill('SIGTERM'), { code: 0, signal: null });
  });

  it('producers and workers that are killed at each point lose nothing, double nothing and keep the order', async () => {
    const ofWorkers = pointsOf('worker').concat('transfer.wished', 'transfer.taken');
    const ofProducers = pointsOf('feed').concat('transfer.uploaded');
    const site = await Site.make();
    const { port } = await site.startReceiver();
    const base = {
      redis: shared.tcpUrl,
      payloads: 'redis',
      destinations: { replica: { port } },
    } as const;
    const journals = [`match: fifo/*, to: replica, interval: 200ms, ${LIMITS}`];
    await site.configure({ ...base, journals }, 'producer');
    await site.configure({ ...base, journals: [] }, 'worker');
    await mkdir(site.path('producer/fifo'));
    const armed = (point: CrashPoint) => ({ env: { FERRY_CRASH_AT: `${point}:2` } });
    const startProducer = (point?: CrashPoint): Promise<TestProcess> =>
      site.start('producer', { subdir: 'producer', ...(point === undefined ? {} : armed(point)) });

    const left = [...ofProducers];
    let producer = await startProducer(left.shift());
    const workers = await Promise.all(
      ofWorkers.map((point) => site.start('worker', { subdir: 'worker', ...armed(point) })),
    );
    // A killed worker's route stands still for a while: there must be others for those who live.
    const writers = Array.from(
      { length: 3 * workers.length },
      (_, n) => new Writer(site.path('producer/fifo', `journal${n}`)),
    );
    let restarts = 0;
    for (let round = 0; restarts < ofProducers.length || !workers.every((w) => w.isOver); ) {
      assert.ok(round < ROUNDS_MAX, [producer, ...workers].map((one) => one.output).join('\n'));
      for (const writer of writers) await writer.commit(round % 3 === 0 ? LARGE : SMALL);
      round += 1;
      if (producer.isOver) {
        assert.deepEqual(await producer.exit, { code: null, signal: 'SIGKILL' });
        producer = await startProducer(left.shift());
        restarts += 1;
      }
      await sleep(ROUND_PAUSE_MS);
    }
    for (const worker of workers) {
      assert.deepEqual(await worker.exit, { code: null, signal: 'SIGKILL' });
    }
    const others = [0, 1].map(() => site.start('worker', { subdir: 'worker' }));
    for (const [n, writer] of writers.entries()) {
      await writer.commit();
      await site.arrived(`journal${n}`, writer.written);
    }
    for (const role of [producer, ...(await Promise.all(others))]) {
      assert.deepEqual(await role.kill('SIGTERM'), { code: 0, signal: null });
    }
  });
});
