import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { findRedisServer } from '../../src/queue/embedded/findServer.js';
import { failOnLeaks } from '../support/leaks.js';
import { TestProcess, until } from '../support/process.js';
import { freePort, startTestRedis } from '../support/redis.js';
import { tempDir } from '../support/tempDir.js';
import { Site, Writer } from './site.js';

const primary = await startTestRedis({ tcp: true });
const replica = await startTestRedis({ tcp: true });
failOnLeaks();

/** A Sentinel that is alone and needs nobody's vote. */
async function startSentinel(): Promise<{ port: number; process: TestProcess }> {
  const server = await findRedisServer();
  const [dir, port] = [tempDir(), await freePort()];
  await writeFile(
    join(dir, 'sentinel.conf'),
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${dir}`,
      `sentinel monitor ferry 127.0.0.1 ${primary.port} 1`,
      // A replica without its primary for ten times as long would not be chosen.
      'sentinel down-after-milliseconds ferry 3000',
      'sentinel failover-timeout ferry 5000',
      '',
    ].join('\n'),
  );
  const args = [join(dir, 'sentinel.conf'), '--sentinel'];
  const process = new TestProcess(server.program, args, { cwd: dir, argv0: server.name });
  await process.line(/\+slave slave /);
  return { port, process };
}

describe('a Redis that is not ours', () => {
  it('serves a user who has no administrator rights but INFO', async () => {
    const rights = ['~{ferry}:*', '&{ferry}:*', '+@all', '-@admin', '-@dangerous', '+info'];
    await primary.command('ACL', 'SETUSER', 'shipper', 'on', '>secret', ...rights);
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
      redis: `{url: "${primary.url}", username: shipper, password: secret}`,
      payloads: 'redis',
    });
    const ferry = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    for (let commit = 0; commit < 5; commit += 1) await writer.commit();
    await site.arrived('foo', writer.written);
    const { redis } = await site.status();
    assert.deepEqual(redis, { ok: true, durability: 'unknown', error: null });
    await ferry.kill('SIGTERM');
    await primary.flushAll();
  });

  it('fails over to a replica that lagged, and nothing is lost, doubled or out of order', async () => {
    await replica.command('REPLICAOF', '127.0.0.1', String(primary.port));
    const follows = async () => (await primary.command('WAIT', '1', '1000')) === '1';
    await until('the replica follows', follows);
    const sentinel = await startSentinel();
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port: receiver.port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
      redis: `{sentinels: {name: ferry, hosts: ["127.0.0.1:${sentinel.port}"]}}`,
    });
    const producer = await site.start('producer');
    const workers = [await site.start('worker'), await site.start('worker')];
    const writer = new Writer(site.path('fifo/foo'));
    const commits = async (count: number): Promise<void> => {
      for (let commit = 0; commit < count; commit += 1) await writer.commit();
    };
    await commits(3);
    await site.arrived('foo', writer.written);
    await until('the replica knows it', follows);

    // From here on the replica hears nothing: neither of what is confirmed nor of what waits.
    replica.pause();
    await primary.command('CLIENT', 'KILL', 'TYPE', 'replica');
    await commits(5);
    await site.arrived('foo', writer.written);
    await until('the acks are in the spool', async () => {
      const route = await site.route('foo@replica');
      return route.state === 'idle' && route.pendingBatches === 0;
    });
    await receiver.process.kill('SIGTERM');
    await commits(3);
    await until('some are accepted', async () => {
      const route = await site.route('foo@replica');
      return route.state === 'retrying' && route.attempts > 0;
    });
    await primary.kill();
    replica.resume();
    await sentinel.process.line(/\+switch-master /, 60_000);
    await commits(2);
    await site.startReceiver(receiver.port);
    await site.arrived('foo', writer.written);
    const audit = await readFile(site.path('state/audit.log'), 'utf8');
    assert.match(audit, /"event":"redis-loss"/, 'the replica had all of it: nothing was tested');

    for (const role of [producer, ...workers]) await role.kill('SIGTERM');
    await sentinel.process.kill('SIGTERM');
  });
});
