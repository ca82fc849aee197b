import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, statSync } from 'node:fs';
import { cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { startFerry, until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

const redis = await startTestRedis({ tcp: true });
failOnLeaks();

const FOO = 'name: foo, path: fifo/foo, interval: 200ms';

/** Commits one batch and waits until it has left the journal. */
async function capture(writer: Writer, bytes = 500): Promise<void> {
  await writer.commit(bytes);
  await until('it is captured', () => statSync(writer.path).size === 0);
}

describe('routes come and go', () => {
  it('one that left the configuration is captured for, and goes on without a gap when put back', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    const other = await site.startReceiver(0, { data: 'second' });
    const destinations = { replica: { port }, backup: { port: other.port } };
    const writer = new Writer(site.path('fifo/foo'));
    const withBoth = { destinations, journals: [`${FOO}, to: [replica, backup]`] };
    await site.configure(withBoth);
    let ferry = await site.start('run');
    await capture(writer);
    await site.arrived('foo', writer.written, 'second');
    await ferry.kill('SIGTERM');

    await site.configure({ destinations, journals: [`${FOO}, to: replica`] });
    ferry = await site.start('run');
    await ferry.line(/the route left the configuration/);
    for (let i = 0; i < 3; i += 1) await capture(writer);
    await site.arrived('foo', writer.written);
    const orphan = await site.route('foo@backup');
    assert.equal(orphan.state, 'orphaned');
    assert.equal(orphan.pendingBatches, 3);
    await ferry.kill('SIGTERM');

    await site.configure(withBoth);
    await site.start('run');
    await site.arrived('foo', writer.written, 'second');
  });

  it('a new route starts paused when it is told to, and a renamed destination keeps its own', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    const writer = new Writer(site.path('fifo/foo'));
    await site.configure({ destinations: { old: { port } }, journals: [`${FOO}, to: old`] });
    let ferry = await site.start('run');
    await capture(writer);
    await site.arrived('foo', writer.written);
    await ferry.kill('SIGTERM');

    const backup = await freePort();
    await site.configure({
      destinations: { new: { port, more: 'was: old' }, backup: { port: backup } },
      journals: [`${FOO}, to: [new, {backup: {start: paused}}]`],
    });
    ferry = await site.start('run');
    await capture(writer);
    await site.arrived('foo', writer.written);
    assert.equal((await site.route('foo@new')).deliveredBatches, 2);
    const paused = await site.route('foo@backup');
    assert.equal(paused.state, 'paused');
    assert.equal(paused.pendingBatches, 1);
    assert.equal(paused.attempts, 0);
  });

  it('leaves bytes in the journal when the spool is full, says so once, and goes on', async () => {
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await receiver.process.kill('SIGTERM');
    await site.configure({
      destinations: { replica: { port: receiver.port } },
      journals: [`${FOO}, to: replica, flush: {maxBytes: 1KiB}, limits: {spool: 20KiB}`],
    });
    const ferry = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await capture(writer, 15_000);
    await writer.commit(15_000);
    await ferry.line(/CAPTURE_HELD/);
    assert.equal((await site.route('foo@replica')).journalBytes, statSync(writer.path).size);
    await site.startReceiver(receiver.port);
    await site.arrived('foo', writer.written);
    assert.equal(ferry.output.match(/"code":"CAPTURE_HELD"/g)?.length, 1);
  });

  it('waits for a quiet journal when flush.quiet asks for it', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: [`${FOO}, to: replica, flush: {quiet: 1s}`],
    });
    await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    const begun = Date.now();
    while (Date.now() - begun < 3_000) await writer.commit(10);
    assert.ok(readFileSync(writer.path).equals(writer.written), 'never captured while it was busy');
    await site.arrived('foo', writer.written);
    assert.equal((await site.route('foo@replica')).tail, 1);
  });

  it('ends by itself after --idle-exit', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: [`${FOO}, to: replica`],
    });
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    const ferry = startFerry(['run', '--idle-exit', '2s', '--log-format', 'json'], {
      cwd: site.dir,
    });
    assert.deepEqual(await ferry.end(30_000), { code: 0, signal: null });
    await site.arrived('foo', writer.written);
  });
});

describe('a blob', () => {
  it('that changes while it is sent is sent again, and its link stays until then', async () => {
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await receiver.process.kill('SIGTERM');
    await site.configure({
      destinations: { replica: { port: receiver.port } },
      journals: [`${FOO}, blobs: blob/, to: replica`],
    });
    await mkdir(site.path('blob'));
    await announceBlob(site.path('blob'), '=1.x', '1.x', randomBytes(1_000));
    await site.start('run');
    await until('it is tried', async () => (await site.route('foo@replica')).pendingBlobs === 1);
    const changed = randomBytes(2_000);
    await writeFile(site.path('blob/1.x'), changed);
    await site.startReceiver(receiver.port);
    await until('the link is gone', () => !existsSync(site.path('blob/=1.x')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('foo', '1.x'), changed);
    // A second version of the same link, which the receiver must not take for the first.
    const second = randomBytes(500);
    await announceBlob(site.path('blob'), '=1.x', '1.x', second);
    await until('the link is gone', () => !existsSync(site.path('blob/=1.x')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('foo', '1.x'), second);
  });

  it('is found with the next commit in a directory that came after the start, which nobody watches yet', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, blobs: blob/, to: replica, interval: 10m'],
    });
    const sender = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await mkdir(site.path('blob'));
    // With its turn the directory is looked at, and is empty; the sweep that would begin to watch
    // it comes in ten minutes.
    await writer.commit();
    await site.arrived('foo', writer.written);
    const content = randomBytes(500);
    await announceBlob(site.path('blob'), '=1.x', '1.x', content);
    await writer.commit();
    await until('the link is gone', () => !existsSync(site.path('blob/=1.x')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('foo', '1.x'), content);
    assert.deepEqual(await sender.kill('SIGTERM'), { code: 0, signal: null });
  });

  it('whose link leads nowhere is removed, and holds up nothing', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: [`${FOO}, blobs: blob/, to: replica`],
    });
    await mkdir(site.path('blob'));
    await announceBlob(site.path('blob'), '=1.x', '1.x', randomBytes(10));
    await rm(site.path('blob/1.x'));
    const ferry = await site.start('run');
    await ferry.line(/led nowhere and was removed/);
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await site.arrived('foo', writer.written);
    assert.ok(!existsSync(site.path('blob/=1.x')));
  });
});

describe('a blob directory', () => {
  it('with a link that cannot be followed holds up neither the journal nor other blobs', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: [`${FOO}, blobs: blob/, to: replica`],
    });
    await mkdir(site.path('blob'));
    await symlink('=loop.x', site.path('blob/=loop.x'));
    await symlink('12345', site.path('blob/=number.x'));
    await symlink('../key', site.path('blob/=out.x'));
    const image = randomBytes(100);
    await announceBlob(site.path('blob'), '=1.x', '1.x', image);
    const ferry = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await site.arrived('foo', writer.written);
    await until('the link is gone', () => !existsSync(site.path('blob/=1.x')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('foo', '1.x'), image);
    await ferry.line(/"link":"=loop.x".*ELOOP/);
    assert.ok(lstatSync(site.path('blob/=out.x')).isSymbolicLink());
  });

  it('is delivered although Redis was flushed while its blob waited', async () => {
    await redis.flushAll();
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await receiver.process.kill('SIGTERM');
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port: receiver.port } },
      journals: [`${FOO}, blobs: blob/, to: replica`],
    });
    await mkdir(site.path('blob'));
    const image = randomBytes(100);
    await announceBlob(site.path('blob'), '=1.x', '1.x', image);
    await site.start('run');
    const waits = async () => {
      const { pendingBlobs, lastErrorCode } = await site.route('foo@replica');
      return pendingBlobs === 1 && lastErrorCode === 'CONNECTION_REFUSED';
    };
    await until('the blob waits, and status says why', waits);
    await redis.flushAll();
    await site.startReceiver(receiver.port);
    await until('the link is gone', () => !existsSync(site.path('blob/=1.x')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('foo', '1.x'), image);
  });

  it('is delivered although its worker was killed before it woke the blob', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: [`${FOO}, blobs: blob/, to: replica`],
    });
    await mkdir(site.path('blob'));
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    const image = randomBytes(100);
    await announceBlob(site.path('blob'), '=1.x', '1.x', image);
    const killed = startFerry(['run'], {
      cwd: site.dir,
      env: { FERRY_CRASH_AT: 'worker.acked' },
    });
    assert.deepEqual(await killed.end(), { code: null, signal: 'SIGKILL' });
    await site.start('run');
    await until('the link is gone', () => !existsSync(site.path('blob/=1.x')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('foo', '1.x'), image);
    await site.arrived('foo', writer.written);
  });
});

describe('a state directory', () => {
  it('restored from an older copy does not make new batches pass for old ones', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: [`${FOO}, to: replica`],
    });
    const writer = new Writer(site.path('fifo/foo'));
    const ship = async (): Promise<void> => {
      await writer.commit();
      await site.arrived('foo', writer.written);
      const idle = async () => (await site.route('foo@replica')).state === 'idle';
      await until('it is confirmed', idle);
    };
    let ferry = await site.start('run');
    await ship();
    await ship();
    await ferry.kill('SIGTERM');
    // The record goes last; a copy made before would meet a directory that changes.
    const runs = (): boolean =>
      ['redis.sock', 'server.json'].some((name) => existsSync(site.path('state/redis', name)));
    await until('the embedded Redis has ended', () => !runs());
    await cp(site.path('state'), site.path('older'), { recursive: true });
    ferry = await site.start('run');
    await ship();
    await ship();
    await ferry.kill('SIGTERM');
    await until('the embedded Redis has ended', () => !runs());
    await rm(site.path('state'), { recursive: true });
    await cp(site.path('older'), site.path('state'), { recursive: true });
    await site.start('run');
    await ship();
    await ship();
    const audit = readFileSync(site.path('state/audit.log'), 'utf8');
    assert.match(audit, /"event":"new-stream"/);
  });
});

describe('clicks in a dashboard and an older Redis', () => {
  it('promote all, remove and retry while the destination is down reorder nothing', async () => {
    await redis.flushAll();
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await receiver.process.kill('SIGTERM');
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port: receiver.port } },
      journals: [`${FOO}, to: replica, flush: {maxBytes: 1KiB}`],
    });
    await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    for (let i = 0; i < 8; i += 1) await capture(writer, 2_000);
    const connection = new Redis(redis.tcpUrl, { maxRetriesPerRequest: null });
    const queue = new Queue('batches', { connection, prefix: '{ferry}' });
    try {
      await queue.promoteJobs({ count: 100 });
      for (const job of (await queue.getDelayed()).slice(0, 4)) await job.remove().catch(() => 0);
      await queue.retryJobs({ count: 100 });
      await queue.promoteJobs({ count: 100 });
    } finally {
      await queue.close();
      connection.disconnect();
    }
    await site.startReceiver(receiver.port);
    await site.arrived('foo', writer.written);
  });

  it('a Redis restored from an older file loses, doubles and reorders nothing at our receiver', async () => {
    await redis.flushAll();
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port } },
      journals: [`${FOO}, to: replica`],
    });
    await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    for (let i = 0; i < 5; i += 1) await capture(writer);
    await site.arrived('foo', writer.written);
    await redis.stop();
    const older = site.path('older');
    await cp(`${redis.dir}/appendonlydir`, older, { recursive: true });
    await redis.start();
    for (let i = 0; i < 5; i += 1) {
      await writer.commit();
      await site.arrived('foo', writer.written);
    }
    await redis.kill();
    await rm(`${redis.dir}/appendonlydir`, { recursive: true });
    await cp(older, `${redis.dir}/appendonlydir`, { recursive: true });
    await redis.start();
    for (let i = 0; i < 5; i += 1) await writer.commit();
    await site.arrived('foo', writer.written);
    const audit = readFileSync(site.path('state/audit.log'), 'utf8');
    assert.match(audit, /"event":"redis-loss"/);
  });
});
