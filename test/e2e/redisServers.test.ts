import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, until } from '../support/process.js';
import { NEEDED_RIGHTS, startTestRedis } from '../support/redis.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

const redis = await startTestRedis({ tcp: true });
failOnLeaks();

/** The rights of docs/operations.md, without the keys and channels of the prefix. */
const RIGHTS = {
  'who has no administrator rights but INFO': ['+@all', '-@admin', '-@dangerous', '+info'],
  'who has just what is needed': NEEDED_RIGHTS,
};

/** What a user was denied, as Redis noted it. */
async function deniedTo(user: string): Promise<Set<unknown>> {
  const client = new Redis({ path: redis.socketPath });
  try {
    const log: unknown = await client.call('ACL', 'LOG');
    assert.ok(Array.isArray(log));
    const entries = log.map((entry: unknown) => JSON.stringify(entry));
    const own = entries.filter((entry) => entry.includes(`"username","${user}"`));
    return new Set(own.map((entry) => /"object","([^"]*)"/.exec(entry)?.[1]));
  } finally {
    client.disconnect();
  }
}

describe('a Redis that is not ours', { concurrency: true }, () => {
  for (const [index, [who, rights]] of Object.entries(RIGHTS).entries()) {
    it(`serves a user ${who}`, () => serves(`user${index}`, rights));
  }
});

/** Everything that the roles and commands do, done by such a user. */
async function serves(user: string, rights: readonly string[]): Promise<void> {
  const own = [`~{${user}}:*`, `&{${user}}:*`];
  await redis.command('ACL', 'SETUSER', user, 'reset', 'on', '>secret', ...own, ...rights);
  const site = await Site.make();
  const { port } = await site.startReceiver();
  await site.configure({
    destinations: { replica: { port } },
    journals: [
      'name: foo, path: fifo/foo, blobs: blob/foo, to: replica, interval: 200ms, limits: {queued: 64KiB}',
    ],
    redis: `{url: "${redis.url}", username: ${user}, password: secret, prefix: ${user}}`,
    payloads: 'redis',
  });
  await mkdir(site.path('blob/foo'), { recursive: true });
  const ferry = await site.start('run');
  const writer = new Writer(site.path('fifo/foo'));
  for (let commit = 0; commit < 5; commit += 1) await writer.commit(commit === 2 ? 200_000 : 200);
  await site.arrived('foo', writer.written);
  const blob = randomBytes(1_000);
  await announceBlob(site.path('blob/foo'), '=1.img', '1.img', blob);
  await until('the blob is sent', () => !existsSync(site.path('blob/foo/=1.img')), ARRIVAL_MS);
  for (const verdict of ['pause', 'resume', 'replay']) {
    const { code, stderr } = await runFerry([verdict, 'foo'], { cwd: site.dir });
    assert.equal(code, 0, stderr);
  }
  await writer.commit();
  await site.arrived('foo', writer.written);
  const status = await site.status();
  assert.deepEqual(status.redis, { ok: true, durability: 'unknown', error: null });
  await ferry.kill('SIGTERM');
  // Asked for, and done without: what CONFIG would say, and the name of the library.
  for (const refused of await deniedTo(user)) {
    assert.ok(refused === 'config|get' || refused === 'client|setinfo', String(refused));
  }
}
