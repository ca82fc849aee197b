import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

const redis = await startTestRedis({ tcp: true });
failOnLeaks();

describe('payloads in Redis', () => {
  it('lets four workers that share nothing but Redis deliver fifty journals, each in order', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    const destinations = { replica: { port, more: 'connections: 8' } };
    await redis.flushAll();
    await site.configure(
      {
        redis: redis.tcpUrl,
        payloads: 'redis',
        destinations,
        journals: ['match: fifo/*, blobs: "blob/{journal}", to: replica, interval: 500ms'],
      },
      'producer',
    );
    // Workers know the destinations, and no journals.
    for (let n = 0; n < 4; n += 1) {
      await site.configure(
        { redis: redis.tcpUrl, payloads: 'redis', destinations, journals: [] },
        `worker${n}`,
      );
    }
    await mkdir(site.path('producer/fifo'));
    const writers = Array.from(
      { length: 50 },
      (_, n) => new Writer(site.path('producer/fifo', `journal${n}`)),
    );
    await site.start('producer', { subdir: 'producer' });
    const workers = await Promise.all(
      [0, 1, 2, 3].map((n) => site.start('worker', { subdir: `worker${n}` })),
    );
    const blob = randomBytes(3_000_000);
    for (let round = 0; round < 12; round += 1) {
      await Promise.all(writers.map((writer) => writer.commit(round === 5 ? 1_500_000 : 500)));
      if (round === 6) {
        for (const n of [0, 7]) {
          await announceBlob(site.path(`producer/blob/journal${n}`), '=1.x', 'deep/1.x', blob);
        }
      }
    }
    for (const [n, writer] of writers.entries()) await site.arrived(`journal${n}`, writer.written);
    for (const n of [0, 7]) {
      await until(
        'the blob arrived',
        async () => (await site.receivedBlob(`journal${n}`, 'deep/1.x'))?.equals(blob) ?? false,
        ARRIVAL_MS,
      );
    }
    for (const worker of workers) {
      assert.match(worker.output, /"msg":"confirmed"/, 'every worker had a share');
      assert.deepEqual(await worker.kill('SIGTERM', 10_000), { code: 0, signal: null });
    }
  });

  it('sends a batch that is larger than Redis may hold of it, through a window', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await redis.flushAll();
    await site.configure({
      redis: redis.tcpUrl,
      payloads: 'redis',
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 500ms, limits: {queued: 4MiB}'],
    });
    const writer = new Writer(site.path('fifo/foo'));
    for (let i = 0; i < 12; i += 1) await writer.commit(3_000_000);
    await site.start('run');
    await site.arrived('foo', writer.written);
    const used = Number(
      /used_memory_peak:(\d+)/.exec(await redis.command('INFO', 'memory'))?.[1] ?? 0,
    );
    assert.ok(used < 100_000_000, `Redis never held the batch as a whole (${used})`);
  });
});
