/** The real writer: a PicoLisp database with a journal. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import { temporaryDirectory } from '../spool/helpers.js';
import { shipped, start } from './helpers.js';

const PIL = '/usr/bin/pil';
const skip = existsSync(PIL) ? false : 'PicoLisp is not installed';

/** A database that commits so many times and ends. */
function committing(times: number): string {
  return `(pool "db" NIL "journal")
(for I ${times} (dbSync) (put *DB 'n I) (put *DB 'text (need I "x")) (commit 'upd) (wait 2))
(bye)`;
}

async function pil(t: TestContext, cwd: string, code: string): Promise<ChildProcess> {
  await writeFile(join(cwd, 'main.l'), code);
  const child = spawn(PIL, ['main.l'], { cwd, stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

async function endedWell(child: ChildProcess): Promise<void> {
  if (child.exitCode === null) await once(child, 'exit');
  assert.equal(child.exitCode, 0);
}

/** Resolves when the kernel says that somebody waits for a lock on the file. */
async function somebodyWaits(path: string): Promise<void> {
  const { ino } = await stat(path);
  for (;;) {
    const locks = (await readFile('/proc/locks', 'utf8')).split('\n');
    if (locks.some((line) => line.includes('->') && line.includes(`:${ino} `))) return;
    await sleep(5);
  }
}

test('a PicoLisp commit waits while we hold the lock', { skip }, async (t) => {
  const root = await temporaryDirectory(t);
  const path = join(root, 'journal');
  await writeFile(path, '');
  const fd = openSync(path, 'r+');
  assert.ok(tryLock(fd));
  const database = await pil(t, root, committing(1));
  await somebodyWaits(path);
  assert.equal((await stat(path)).size, 0);
  unlock(fd);
  await endedWell(database);
  assert.ok((await stat(path)).size > 0);
  closeSync(fd);
});

test('we do not get the lock while PicoLisp holds it', { skip }, async (t) => {
  const root = await temporaryDirectory(t);
  const path = join(root, 'journal');
  await writeFile(path, '');
  const holder = await pil(
    t,
    root,
    '(ctl "journal" (prinl "held") (flush) (in NIL (line)))\n(bye)',
  );
  if (holder.stdout !== null) await once(holder.stdout, 'data');
  const fd = openSync(path, 'r+');
  assert.equal(tryLock(fd), false);
  holder.stdin?.end('\n');
  await endedWell(holder);
  assert.equal(tryLock(fd), true);
  closeSync(fd);
});

test('captures beside a committing PicoLisp ship its journal byte for byte', {
  skip,
}, async (t) => {
  const root = await temporaryDirectory(t);
  const code = committing(300);
  await mkdir(join(root, 'alone'));
  await endedWell(await pil(t, join(root, 'alone'), code));
  const expected = await readFile(join(root, 'alone', 'journal'));
  await writeFile(join(root, 'journal'), '');
  const b = await start(root, 'boot-a');
  const database = await pil(t, root, code);
  let done = false;
  const end = endedWell(database).finally(() => {
    done = true;
  });
  while (!done) await b.capture.capture();
  await end;
  await b.capture.capture();
  assert.ok(b.spool.lastSequence > 1, String(b.spool.lastSequence));
  assert.ok(expected.equals(await shipped(b.spool)));
  t.diagnostic(`${expected.length} bytes in ${b.spool.lastSequence} batches`);
  await b.close();
});
