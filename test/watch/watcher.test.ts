import assert from 'node:assert/strict';
import {
  appendFile,
  mkdir,
  readdir,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  DirectoryWatcher,
  type DirectoryWatcherOptions,
} from '../../src/producers/watch/watcher.js';
import { temporaryDirectory } from '../spool/helpers.js';

/** Long enough that no sweep of its own happens in a test. */
const NEVER_MS = 3_600_000;

async function watching(t: TestContext, dir: string, more: Partial<DirectoryWatcherOptions> = {}) {
  const watcher = new DirectoryWatcher({ dir, intervalMs: NEVER_MS, ...more });
  t.after(() => watcher.close());
  const looks: string[] = [];
  const waiting = new Map<string, () => void>();
  watcher.onLook((name) => {
    looks.push(name);
    waiting.get(name)?.();
  });
  const look = (name: string): Promise<void> =>
    new Promise((resolve) => waiting.set(name, resolve));
  return { watcher, looks, look };
}

test('every file there is gets a look at the start', async (t) => {
  const dir = await temporaryDirectory(t);
  await writeFile(join(dir, 'a'), 'x');
  await writeFile(join(dir, 'b'), '');
  await mkdir(join(dir, 'c'));
  const { watcher, looks } = await watching(t, dir);
  await watcher.start();
  assert.deepEqual(looks.sort(), ['a', 'b']);
});

test('an append, a new file and a removed one are hinted at without a sweep', async (t) => {
  const dir = await temporaryDirectory(t);
  await writeFile(join(dir, 'a'), 'x');
  const { watcher, look } = await watching(t, dir);
  await watcher.start();
  const append = look('a');
  await appendFile(join(dir, 'a'), 'more');
  await append;
  const created = look('new');
  await symlink('nowhere', join(dir, 'new'));
  await created;
  const removed = look('a');
  await unlink(join(dir, 'a'));
  await removed;
});

test('the sweep finds what changed, and non-empty journals again', async (t) => {
  const dir = await temporaryDirectory(t);
  await writeFile(join(dir, 'full'), 'x');
  await writeFile(join(dir, 'empty'), '');
  const plain = await watching(t, dir);
  const journals = await watching(t, dir, { repeatNonEmpty: true, filter: (n) => n !== 'beat' });
  await plain.watcher.sweepNow();
  await journals.watcher.sweepNow();
  plain.looks.length = 0;
  journals.looks.length = 0;
  await writeFile(join(dir, 'beat'), 'x');
  await plain.watcher.sweepNow();
  await journals.watcher.sweepNow();
  assert.ok(!plain.looks.includes('full'));
  assert.ok(plain.looks.includes('beat'));
  assert.ok(journals.looks.includes('full'));
  assert.ok(!journals.looks.includes('beat') && !journals.looks.includes('empty'));
});

test('a missing directory is said once and picked up when it comes, goes and comes', async (t) => {
  const dir = join(await temporaryDirectory(t), 'fifo');
  const said: string[] = [];
  const { watcher, looks, look } = await watching(t, dir, {
    onTrouble: (error) => said.push(error.code),
    onBack: () => said.push('back'),
  });
  await watcher.start();
  await watcher.sweepNow();
  assert.deepEqual(said, ['DIRECTORY_MISSING']);
  await mkdir(dir);
  await writeFile(join(dir, 'a'), 'x');
  await watcher.sweepNow();
  assert.deepEqual(said, ['DIRECTORY_MISSING', 'back']);
  assert.deepEqual(looks, ['a']);
  await rm(dir, { recursive: true });
  await watcher.sweepNow();
  await watcher.sweepNow();
  assert.equal(said.filter((word) => word === 'DIRECTORY_MISSING').length, 2);
  await mkdir(`${dir}.new`);
  await rename(`${dir}.new`, dir);
  await watcher.sweepNow();
  assert.equal(said.at(-1), 'back');
  const event = look('b');
  await writeFile(join(dir, 'b'), 'x');
  await event;
});

test('10,000 files take one watch, and none is missed', async (t) => {
  const dir = await temporaryDirectory(t);
  for (let i = 0; i < 10_000; i += 1) await writeFile(join(dir, `j${i}`), '');
  const { watcher, looks } = await watching(t, dir);
  const before = (await readdir('/proc/self/fd')).length;
  await watcher.start();
  assert.equal(looks.length, 10_000);
  assert.ok((await readdir('/proc/self/fd')).length <= before + 3);
  looks.length = 0;
  for (let i = 0; i < 10_000; i += 1) await appendFile(join(dir, `j${i}`), 'x');
  await watcher.sweepNow();
  assert.equal(new Set(looks).size, 10_000);
});

test('a closed watcher says nothing and keeps nothing open', async (t) => {
  const dir = await temporaryDirectory(t);
  const before = (await readdir('/proc/self/fd')).length;
  const { watcher, looks } = await watching(t, dir);
  await watcher.start();
  await watcher.close();
  await writeFile(join(dir, 'a'), 'x');
  await watcher.sweepNow();
  assert.deepEqual(looks, []);
  assert.ok((await readdir('/proc/self/fd')).length <= before + 1);
});
