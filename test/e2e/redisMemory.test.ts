import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { Redis } from 'ioredis';
import type { RouteStatus } from '../../src/status/report.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { startTestRedis, type TestRedis } from '../support/redis.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

const MEBIBYTE = 1024 * 1024;
const [ours, full] = [await startTestRedis({ tcp: true }), await startTestRedis({ tcp: true })];
failOnLeaks();

const ROUTE = '{ferry}:route:foo@replica';

async function memory(redis: TestRedis, field: 'used_memory' | 'maxmemory'): Promise<number> {
  const client = new Redis({ path: redis.socketPath });
  try {
    const info = await client.info('memory');
    return Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(info)?.[1]);
  } finally {
    client.disconnect();
  }
}

/** What is there without us, and so much more. */
async function limitMemory(redis: TestRedis, bytes: number): Promise<void> {
  const limit = (await memory(redis, 'used_memory')) + bytes;
  await redis.command('CONFIG', 'SET', 'maxmemory', String(limit));
}

async function captured(writer: Writer, bytes: number): Promise<void> {
  await writer.commit(bytes);
  await until('it is captured', () => statSync(writer.path).size === 0);
}

async function routesOf(site: Site): Promise<Record<string, RouteStatus>> {
  const { routes } = await site.status();
  return Object.fromEntries(routes.map((route) => [route.route, route]));
}

describe('a Redis whose memory is used up', { concurrency: true }, () => {
  it('by batches for a dead destination: live routes go on, all else waits in the spool, and everything drains when it is back', async () => {
    await limitMemory(ours, 15 * MEBIBYTE);
    const site = await Site.make();
    const dead = await site.startReceiver(0, { data: 'dead' });
    const live = await site.startReceiver();
    await dead.process.kill('SIGTERM');
    await site.configure({
      redis: ours.tcpUrl,
      payloads: 'redis',
      destinations: { dead: { port: dead.port }, live: { port: live.port } },
      journals: [
        'name: foo, path: fifo/foo, to: dead, interval: 200ms, flush: {maxBytes: 1KiB}',
        'name: bar, path: fifo/bar, blobs: blob/bar, to: live, interval: 200ms',
      ],
    });
    await mkdir(site.path('blob/bar'), { recursive: true });
    const producer = await site.start('producer');
    const workers = [await site.start('worker'), await site.start('worker')];
    const [foo, bar] = ['foo', 'bar'].map((name) => new Writer(site.path('fifo', name)));
    assert.ok(foo !== undefined && bar !== undefined);
    for (let i = 0; i < 12; i += 1) await captured(foo, MEBIBYTE - 100);
    await producer.line(/REDIS_FULL/);
    // What its last clients' buffers took may come back once more, and a batch may find room in it.
    await until('the status says so', async () => {
      const { redis } = await site.status();
      assert.equal(redis.ok, true);
      return /^REDIS_FULL: .*maxmemory.*raise maxmemory/.test(redis.error ?? '');
    });
    assert.equal((await routesOf(site))['foo@dead']?.pendingBatches, 12);

    // Another route finds no room for its chunks either, and goes on all the same.
    const blob = Buffer.alloc(3 * MEBIBYTE, 'blob');
    for (let i = 0; i < 3; i += 1) await bar.commit(2 * MEBIBYTE);
    await announceBlob(site.path('blob/bar'), '=1.img', '1.img', blob);
    await site.arrived('bar', bar.written);
    await until('its blob arrived', () => !existsSync(site.path('blob/bar/=1.img')), ARRIVAL_MS);
    assert.ok((await site.receivedBlob('bar', '1.img'))?.equals(blob));
    assert.equal((await routesOf(site))['foo@dead']?.pendingBatches, 12);
    assert.ok(
      (await memory(ours, 'used_memory')) < (await memory(ours, 'maxmemory')),
      'some is kept free',
    );

    await site.startReceiver(dead.port, { data: 'dead' });
    await site.arrived('foo', foo.written, 'dead');
    await until('Redis has room', async () => (await site.status()).redis.error === null);
    const said = producer.output.match(/"code":"REDIS_FULL"/g) ?? [];
    assert.equal(said.length, 1, 'it is said once');
    for (const role of [producer, ...workers]) await role.kill('SIGTERM');
  });

  it('altogether, so that no write is allowed: what it has is delivered, and the rest when there is room', async () => {
    // BullMQ's own scripts were refused then. A job that was active in a killed worker never came
    // back, and one that waited was never begun: so nothing was confirmed, and nothing freed.
    const site = await Site.make();
    const receiver = await site.startReceiver();
    receiver.process.signal('SIGSTOP');
    await site.configure({
      redis: full.tcpUrl,
      payloads: 'redis',
      destinations: { replica: { port: receiver.port } },
      journals: [
        'name: foo, path: fifo/foo, to: replica, interval: 200ms, flush: {maxBytes: 1KiB}',
      ],
    });
    const killed = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    for (let i = 0; i < 6; i += 1) await captured(writer, 500_000);
    await until('all of them are queued', async () => {
      const accepted = await full.command('HLEN', '{ferry}:accepted:foo@replica');
      return accepted === '6';
    });
    const inRedis = writer.written;
    const isSending = async () => (await full.command('HGET', ROUTE, 'holder')) !== '';
    await until('one of them is being sent', isSending);
    await full.command('CONFIG', 'SET', 'maxmemory', '1');
    await assert.rejects(full.command('SET', 'any', 'thing'), /OOM/);
    await killed.kill('SIGKILL');
    const sender = await site.start('run');
    await writer.commit(500_000);
    await sender.line(/REDIS_FULL/);

    receiver.process.signal('SIGCONT');
    await until(
      'what Redis has is delivered',
      async () => (await site.received('foo')).length >= inRedis.length,
      ARRIVAL_MS,
    );
    assert.ok((await site.received('foo')).equals(inRedis), 'and nothing else');
    const status = await site.status();
    assert.match(status.redis.error ?? '', /^REDIS_FULL: /);
    await full.command('CONFIG', 'SET', 'maxmemory', '0');
    await site.arrived('foo', writer.written);
    assert.equal((await site.status()).redis.error, null);
    await sender.kill('SIGTERM');
  });
});
