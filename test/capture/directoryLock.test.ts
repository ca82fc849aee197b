import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FerryError } from '../../src/common/errors.js';
import { LEASE_STALE_MS, lockDirectory } from '../../src/producers/capture/directoryLock.js';
import { temporaryDirectory } from '../spool/helpers.js';

const MODULE = fileURLToPath(
  new URL('../../src/producers/capture/directoryLock.js', import.meta.url),
);

async function directories(t: TestContext) {
  const root = await temporaryDirectory(t);
  const journalDir = join(root, 'fifo');
  await mkdir(journalDir);
  const onCompromised = (): void => assert.fail('compromised');
  return { root, journalDir, stateDir: join(root, 'state'), onCompromised };
}

function running(pid?: number): (error: unknown) => boolean {
  return (error) =>
    error instanceof FerryError &&
    error.code === 'PRODUCER_ALREADY_RUNNING' &&
    (pid === undefined || error.message.includes(`pid ${pid}`));
}

/** A producer in a process of its own that holds the lock until it is killed. */
async function holder(t: TestContext, journalDir: string, stateDir: string, journal?: string) {
  const code = `const { lockDirectory } = await import(${JSON.stringify(MODULE)});
    const [, journalDir, stateDir, journal] = process.argv;
    await lockDirectory({ journalDir, stateDir, journal, onCompromised() {} });
    console.log('held'); setInterval(() => {}, 1000);`;
  const args = ['--input-type=module', '-e', code, journalDir, stateDir];
  if (journal !== undefined) args.push(journal);
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

test('the lock lies beside the directory, and is gone after the release', async (t) => {
  const { root, ...options } = await directories(t);
  const lock = await lockDirectory(options);
  assert.equal(lock.leasePath, join(root, '.fifo.ferry.lock'));
  assert.deepEqual(await readdir(options.journalDir), []);
  await assert.rejects(lockDirectory(options), running(process.pid));
  await lock.release();
  await assert.rejects(stat(lock.leasePath));
  await (await lockDirectory(options)).release();
});

test('a parent that is not ours to write in sends the lock elsewhere', async (t) => {
  if (process.getuid?.() === 0) return t.skip('root may write everywhere');
  const { root, ...options } = await directories(t);
  options.stateDir = await temporaryDirectory(t);
  await chmod(root, 0o500);
  const lock = await lockDirectory(options);
  assert.match(lock.leasePath, /journal-ferry-[0-9a-f]{16}\.lock$/);
  await lock.release();
  await chmod(root, 0o700);
});

test('a living producer with another state directory is found out', async (t) => {
  const { root, ...options } = await directories(t);
  await holder(t, options.journalDir, join(root, 'other'));
  const said: string[] = [];
  const onWait = (message: string): unknown => said.push(message);
  await assert.rejects(lockDirectory({ ...options, onWait }), running());
  assert.equal(said.length, 1);
});

test('a killed producer of the same state directory blocks its successor for no time', async (t) => {
  const { root: _, ...options } = await directories(t);
  const child = await holder(t, options.journalDir, options.stateDir);
  await assert.rejects(lockDirectory(options), running(child.pid));
  child.kill('SIGKILL');
  await once(child, 'exit');
  const startedMs = performance.now();
  const lock = await lockDirectory({ ...options, onWait: () => assert.fail('no need to wait') });
  assert.ok(performance.now() - startedMs < LEASE_STALE_MS / 2);
  await lock.release();
});

test('a killed producer of another state directory is waited out', async (t) => {
  const { root, ...options } = await directories(t);
  const child = await holder(t, options.journalDir, join(root, 'other'));
  child.kill('SIGKILL');
  await once(child, 'exit');
  await (await lockDirectory(options)).release();
});

test('journals of one directory may have a producer each, one per journal', async (t) => {
  const { root, ...options } = await directories(t);
  for (const stateDir of [options.stateDir, join(root, 'other')]) {
    const child = await holder(t, options.journalDir, stateDir, 'foo');
    const bar = await lockDirectory({ ...options, journal: 'bar' });
    await assert.rejects(lockDirectory({ ...options, journal: 'foo' }), running());
    await bar.release();
    // Killed only where that proves to be no wait; the other's lease would be waited out.
    child.kill(stateDir === options.stateDir ? 'SIGKILL' : 'SIGTERM');
    await once(child, 'exit');
    await (await lockDirectory({ ...options, journal: 'foo' })).release();
  }
  assert.deepEqual(await readdir(root), ['fifo', 'other', 'state']);
});

test('who wants the whole directory and who wants one journal of it exclude each other', async (t) => {
  const { root, ...options } = await directories(t);
  for (const stateDir of [options.stateDir, join(root, 'other')]) {
    const one = await holder(t, options.journalDir, stateDir, 'foo');
    await assert.rejects(lockDirectory(options), running());
    one.kill('SIGTERM');
    await once(one, 'exit');
    const all = await holder(t, options.journalDir, stateDir);
    await assert.rejects(lockDirectory({ ...options, journal: 'foo' }), running());
    all.kill('SIGTERM');
    await once(all, 'exit');
    await (await lockDirectory({ ...options, journal: 'foo' })).release();
  }
});

test('a lease that somebody removed stops the producer', async (t) => {
  const { root: _, ...options } = await directories(t);
  const lost = new Promise<FerryError>((resolve, reject) => {
    lockDirectory({ ...options, onCompromised: resolve }).then((lock) => {
      t.after(() => lock.release());
      return rmdir(lock.leasePath);
    }, reject);
  });
  // The lease refreshes itself on a timer that keeps no process alive.
  const awake = setInterval(() => undefined, 1000);
  assert.equal((await lost).code, 'PRODUCER_LOCK_LOST');
  clearInterval(awake);
});
