import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { acquireEmbeddedRedis } from '../../src/queue/embedded/acquire.js';
import { findRedisServer } from '../../src/queue/embedded/findServer.js';
import { ping } from '../../src/queue/embedded/ping.js';
import type { ServerRecord } from '../../src/queue/embedded/places.js';
import { failOnLeaks } from '../support/leaks.js';
import { gone, isAlive, killPid, start, type TestProcess, until } from '../support/process.js';
import { redisCommand } from '../support/redis.js';
import { tempDir } from '../support/tempDir.js';

const USER = fileURLToPath(new URL('./user.js', import.meta.url));

async function startUser(stateDir: string): Promise<{ user: TestProcess; socketPath: string }> {
  const user = start(process.execPath, [USER, stateDir]);
  const line = await user.line(/^ready /);
  return { user, socketPath: line.slice('ready '.length) };
}

function recordOf(stateDir: string): ServerRecord {
  return JSON.parse(readFileSync(join(stateDir, 'redis/server.json'), 'utf8'));
}

test('two users of a state directory share one server, which ends with the last of them', async () => {
  const state = tempDir();
  const first = await startUser(state);
  const second = await startUser(state);
  assert.equal(second.socketPath, first.socketPath);
  const { pid, keeperPid } = recordOf(state);

  await first.user.kill('SIGTERM');
  assert.equal(await ping(first.socketPath), 'ready');
  await second.user.kill('SIGTERM');
  await gone(pid);
  await gone(keeperPid);
  assert.equal(existsSync(first.socketPath), false);
});

test('when its users are killed, server and keeper end by themselves', async () => {
  const state = tempDir();
  const first = await startUser(state);
  const second = await startUser(state);
  const { pid, keeperPid } = recordOf(state);
  await Promise.all([first.user.kill('SIGKILL'), second.user.kill('SIGKILL')]);
  await gone(pid);
  await gone(keeperPid);
});

test('four users that start at once get one server', async () => {
  const state = tempDir();
  const users = await Promise.all([1, 2, 3, 4].map(() => startUser(state)));
  const runIds = await Promise.all(
    users.map(async ({ socketPath }) => redisCommand(socketPath, ['ECHO', socketPath])),
  );
  assert.equal(new Set(runIds).size, 1);
  const log = readFileSync(join(state, 'redis/redis.log'), 'utf8');
  assert.equal(log.match(/Server initialized/g)?.length, 1);
  // Read now: the keeper takes it away when it ends, which may be soon.
  const { keeperPid } = recordOf(state);
  await Promise.all(users.map(({ user }) => user.kill('SIGKILL')));
  await gone(keeperPid).catch(() => undefined);
});

test('a user that comes while the old server is ending gets a new one with the old data', async () => {
  const state = tempDir();
  for (let round = 0; round < 5; round += 1) {
    const { user, socketPath } = await startUser(state);
    assert.equal(await redisCommand(socketPath, ['INCR', 'rounds']), String(round + 1));
    await user.kill('SIGKILL');
  }
});

test('a killed server comes back with every acknowledged write', async () => {
  const state = tempDir();
  const { user, socketPath } = await startUser(state);
  for (let n = 1; n <= 200; n += 1) await redisCommand(socketPath, ['RPUSH', 'list', String(n)]);
  const before = recordOf(state);
  await killPid(before.pid);
  await until('another server answers', async () => {
    const pid = existsSync(join(state, 'redis/server.json')) ? recordOf(state).pid : before.pid;
    return pid !== before.pid && (await ping(socketPath)) === 'ready';
  });
  assert.equal(await redisCommand(socketPath, ['LLEN', 'list']), '200');
  assert.equal(recordOf(state).keeperPid, before.keeperPid);
  await user.kill();
});

test('a killed keeper is replaced while users are left, and the data stays', async () => {
  const state = tempDir();
  const { user, socketPath } = await startUser(state);
  await redisCommand(socketPath, ['SET', 'kept', 'yes']);
  const before = recordOf(state);
  await killPid(before.keeperPid);
  await user.line(/starting another/);
  await until('a new keeper has a server', async () => {
    return recordOf(state).keeperPid !== before.keeperPid && (await ping(socketPath)) === 'ready';
  });
  assert.equal(isAlive(before.pid), false);
  assert.equal(await redisCommand(socketPath, ['GET', 'kept']), 'yes');
  const { keeperPid, pid } = recordOf(state);
  await user.kill();
  await gone(keeperPid);
  await gone(pid);
});

test('when keeper and users are killed together, no server is left for the next user', async () => {
  const state = tempDir();
  const first = await startUser(state);
  const before = recordOf(state);
  await Promise.all([killPid(before.keeperPid), first.user.kill('SIGKILL')]);
  const second = await startUser(state);
  assert.equal(isAlive(before.pid), false);
  assert.notEqual(recordOf(state).pid, before.pid);
  assert.equal(await ping(second.socketPath), 'ready');
  await second.user.kill();
  await gone(recordOf(state).keeperPid).catch(() => undefined);
});

test('SIGTERM to the keeper ends nothing while a user is left', async () => {
  const state = tempDir();
  const { user, socketPath } = await startUser(state);
  const { keeperPid } = recordOf(state);
  process.kill(keeperPid, 'SIGTERM');
  const log = join(state, 'redis/keeper.log');
  await until('the keeper says that it stays', () => readFileSync(log, 'utf8').includes('SIGTERM'));
  assert.equal(await ping(socketPath), 'ready');
  await user.kill();
  await gone(keeperPid);
});

test('a state directory with a very long path gets its socket in a private directory', async () => {
  const state = join(tempDir(), 'x'.repeat(120));
  const { user, socketPath } = await startUser(state);
  assert.ok(Buffer.byteLength(socketPath) <= 107, socketPath);
  assert.equal(statSync(join(socketPath, '..')).mode & 0o777, 0o700);
  assert.equal(await ping(socketPath), 'ready');
  const { keeperPid } = recordOf(state);
  await user.kill();
  await gone(keeperPid);
});

test('nothing in the state directory is readable by others', async () => {
  const state = tempDir();
  const { user } = await startUser(state);
  const { keeperPid } = recordOf(state);
  for (const entry of await readdir(state, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue;
    const path = join(entry.parentPath, entry.name);
    assert.equal(statSync(path).mode & 0o077, 0, path);
  }
  await user.kill();
  await gone(keeperPid);
});

test('one process may hold several shares; the server stays until the last is released', async () => {
  const state = tempDir();
  const logger = pino({ level: 'silent' });
  const first = await acquireEmbeddedRedis({ stateDir: state, logger });
  const second = await acquireEmbeddedRedis({ stateDir: state, logger });
  const { keeperPid } = recordOf(state);
  await first.release();
  await first.release();
  assert.equal(await ping(second.socketPath), 'ready');
  await second.release();
  await gone(keeperPid);
});

test('without any server program the error says how to install one', async () => {
  const logger = pino({ level: 'silent' });
  await assert.rejects(
    acquireEmbeddedRedis({ stateDir: tempDir(), logger, searchPath: tempDir() }),
    { code: 'REDIS_NOT_FOUND', hint: /apt-get install redis-tools.*brew install/ },
  );
});

test('a server that only exists as redis-check-rdb is found and named', async () => {
  const real = await findRedisServer();
  const bin = tempDir();
  mkdirSync(join(bin, 'bin'));
  symlinkSync(real.program, join(bin, 'bin/redis-check-rdb'));
  const found = await findRedisServer(join(bin, 'bin'));
  assert.equal(found.name, 'redis-server');
  assert.match(found.how, /redis-check-rdb as redis-server \d/);
});

failOnLeaks();
