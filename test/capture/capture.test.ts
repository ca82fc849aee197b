import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFileSync, closeSync, openSync } from 'node:fs';
import {
  appendFile,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tryLock, unlock } from 'fs-native-extensions';
import { FerryError, systemCode } from '../../src/common/errors.js';
import { nodeFileSystem } from '../../src/common/fileSystem.js';
import { lockJournal } from '../../src/producers/capture/lock.js';
import type { CaptureOutcome } from '../../src/producers/capture/outcomes.js';
import { INLINE_MAX_BYTES } from '../../src/producers/capture/seal.js';
import { sha256, temporaryDirectory } from '../spool/helpers.js';
import { FaultyFileSystem } from '../support/faultyFileSystem.js';
import { checkRecords, JournalWriter, record } from '../support/journalWriter.js';
import { bench, everything, shipped, start } from './helpers.js';

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof FerryError && error.code === expected;
}

function captured(outcome: CaptureOutcome) {
  assert.ok('captured' in outcome, JSON.stringify(outcome));
  return outcome;
}

/** Runs `action` each time the spool syncs its directory or a file: in the middle of a capture. */
function meddling(action: (call: 'open' | 'syncDirectory') => Promise<void>) {
  return {
    ...nodeFileSystem,
    async open(...args: Parameters<typeof nodeFileSystem.open>) {
      const handle = await nodeFileSystem.open(...args);
      await action('open');
      return handle;
    },
    async syncDirectory(path: string) {
      await nodeFileSystem.syncDirectory(path);
      await action('syncDirectory');
    },
  };
}

test('a small journal becomes one batch inside the log, and is emptied in place', async (t) => {
  const b = await bench(t, Buffer.from('one\ntwo\n'));
  const { ino } = await stat(b.path);
  const { captured: batch, lockHeldMs } = captured(await b.capture.capture());
  assert.equal(batch.bytes, 8);
  assert.equal(batch.sha256, sha256(Buffer.from('one\ntwo\n')));
  assert.match(batch.location.file, /\.log$/);
  assert.ok(lockHeldMs > 0);
  assert.equal((await stat(b.path)).size, 0);
  assert.equal((await stat(b.path)).ino, ino);
  assert.equal(String(await shipped(b.spool)), 'one\ntwo\n');
  assert.deepEqual(await b.capture.capture(), { empty: true });
  await b.close();
  assert.equal(b.spool.settledThrough, 1);
});

test('a large journal becomes a file of its own', async (t) => {
  const content = randomBytes(5 * 1024 * 1024 + 77);
  const b = await bench(t, content);
  const { captured: batch } = captured(await b.capture.capture());
  assert.equal(batch.location.file, '0000000001.batch');
  assert.equal(batch.sha256, sha256(content));
  assert.ok(content.equals(await shipped(b.spool)));
  assert.equal((await stat(b.path)).size, 0);
  await b.close();
});

test('two captures at once become two batches in order', async (t) => {
  const b = await bench(t, Buffer.from('one'));
  const both = [b.capture.capture(), b.capture.capture()];
  captured(await (both[0] as Promise<CaptureOutcome>));
  assert.deepEqual(await both[1], { empty: true });
  await appendFile(b.path, 'two');
  assert.equal(captured(await b.capture.capture()).captured.sequence, 2);
  await b.close();
});

test('bytes stay in the journal while the spool is at its limit', async (t) => {
  const root = await temporaryDirectory(t);
  await writeFile(join(root, 'journal'), 'one');
  const b = await start(root, 'boot-a', { spoolBytesMax: 4 });
  captured(await b.capture.capture());
  await appendFile(b.path, 'two');
  assert.deepEqual(await b.capture.capture(), { held: 'spool-limit' });
  await b.spool.recordAck('r', 1);
  captured(await b.capture.capture());
  await b.close();
});

test('bytes stay in the journal while the disk is at its floor', async (t) => {
  const root = await temporaryDirectory(t);
  await writeFile(join(root, 'journal'), 'one');
  const b = await start(root, 'boot-a', { diskFloorBytes: Number.MAX_SAFE_INTEGER / 2 });
  assert.deepEqual(await b.capture.capture(), { held: 'disk-floor' });
  assert.equal(String(await readFile(b.path)), 'one');
  await b.close();
});

for (const size of [1000, 600 * 1024]) {
  test(`a fault at any call of a capture of ${size} bytes loses nothing`, async (t) => {
    for (const operation of ['open', 'write', 'datasync', 'syncDirectory', 'unlink'] as const) {
      for (const fault of ['ENOSPC', 'EIO', 'short'] as const) {
        for (let at = 1; at <= 4; at += 1) {
          const root = await temporaryDirectory(t);
          const content = randomBytes(size);
          await writeFile(join(root, 'journal'), content);
          const fileSystem = new FaultyFileSystem();
          const b = await start(root, 'boot-a', { fileSystem });
          await b.capture.recover();
          fileSystem.arm({
            operation,
            at,
            code: fault === 'EIO' ? 'EIO' : 'ENOSPC',
            ...(fault === 'short' ? { short: true } : {}),
          });
          const label = `${operation} ${fault} ${at}`;
          await b.capture.capture().then(
            (outcome) => assert.ok(!('empty' in outcome), label),
            () => undefined,
          );
          assert.ok(content.equals(await everything(b)), `${label}: at once`);
          const more = randomBytes(100);
          await appendFile(b.path, more);
          fileSystem.arm(undefined);
          await b.capture.capture();
          const all = Buffer.concat([content, more]);
          assert.ok(all.equals(await everything(b)), `${label}: after`);
          const c = await b.restart('boot-a');
          await c.capture.recover();
          assert.ok(all.equals(await everything(c)), `${label}: restarted`);
          await c.close();
          assert.equal(fileSystem.openHandles, 0, label);
        }
      }
    }
  });

  test(`a crash right behind a fault at any call of ${size} bytes loses nothing`, async (t) => {
    for (const operation of ['write', 'datasync', 'syncDirectory'] as const) {
      for (let at = 1; at <= 4; at += 1) {
        const root = await temporaryDirectory(t);
        const content = randomBytes(size);
        await writeFile(join(root, 'journal'), content);
        const fileSystem = new FaultyFileSystem();
        const b = await start(root, 'boot-a', { fileSystem });
        await b.capture.recover();
        fileSystem.arm({ operation, at, code: 'EIO', lasting: true });
        await b.capture.capture().catch(() => undefined);
        await b.spool.close();
        const c = await start(root, 'boot-a');
        const more = randomBytes(100);
        await appendFile(c.path, more);
        await c.capture.recover();
        await c.capture.capture();
        assert.ok(Buffer.concat([content, more]).equals(await everything(c)), `${operation} ${at}`);
        await c.close();
      }
    }
  });
}

test('a sync beside the copying that fails spoils the copy, although later ones pass', async (t) => {
  const root = await temporaryDirectory(t);
  const content = Buffer.alloc(70 * 1024 * 1024, 'commit\n');
  await writeFile(join(root, 'journal'), content);
  const fileSystem = new FaultyFileSystem();
  const b = await start(root, 'boot-a', { fileSystem });
  await b.capture.recover();
  fileSystem.arm({ operation: 'datasync', at: 1, code: 'EIO' });
  const syncs = (): number => fileSystem.calls.get('datasync') ?? 0;
  await assert.rejects(b.capture.capture(), (error) => systemCode(error) === 'EIO');
  assert.equal(syncs(), 1, 'the one beside the copying');
  assert.equal(b.spool.lastSequence, 0);
  assert.equal((await stat(b.path)).size, content.length);
  // The next copy is a new one: a sync beside it, the one that counts, and the seal's.
  await b.capture.capture();
  assert.ok(syncs() >= 1 + 3, `${syncs()} syncs`);
  assert.ok(content.equals(await everything(b)));
  await b.close();
  assert.equal(fileSystem.openHandles, 0);
});

test('what a lockless writer appends between seal and truncation joins the batch', async (t) => {
  const root = await temporaryDirectory(t);
  await writeFile(join(root, 'journal'), 'one');
  let meddle = false;
  const b = await start(root, 'boot-a');
  await b.capture.recover();
  const seal = b.spool.seal.bind(b.spool);
  b.spool.seal = async (request) => {
    const batch = await seal(request);
    if (meddle) appendFileSync(b.path, 'x'.repeat(INLINE_MAX_BYTES));
    meddle = false;
    return batch;
  };
  meddle = true;
  const outcome = captured(await b.capture.capture());
  assert.equal(outcome.captured.bytes, 3 + INLINE_MAX_BYTES);
  assert.equal(outcome.captured.sequence, 1);
  assert.deepEqual(
    outcome.notes.map((note) => note.code),
    ['JOURNAL_WRITTEN_WITHOUT_LOCK'],
  );
  assert.equal(String(await everything(b)), `one${'x'.repeat(INLINE_MAX_BYTES)}`);
  await b.close();
});

test('a writer that never stops under our lock is named, and nothing is lost', async (t) => {
  const b = await bench(t, Buffer.from('one'));
  await b.capture.recover();
  const seal = b.spool.seal.bind(b.spool);
  let appended = 'one';
  b.spool.seal = async (request) => {
    const batch = await seal(request);
    appendFileSync(b.path, 'more');
    appended += 'more';
    return batch;
  };
  await assert.rejects(b.capture.capture(), code('JOURNAL_WRITTEN_WITHOUT_LOCK'));
  b.spool.seal = seal;
  captured(await b.capture.capture());
  assert.equal(String(await everything(b)), appended);
  assert.equal((await stat(b.path)).size, 0);
  await b.close();
});

for (const [name, meddle] of [
  [
    'replaced',
    async (path: string, other: Buffer) => {
      await rename(path, `${path}.old`);
      await writeFile(path, other);
    },
  ],
  [
    'shrunk',
    async (path: string, other: Buffer) => {
      await truncate(path, 0);
      await appendFile(path, other.subarray(0, 1000));
    },
  ],
  [
    'changed',
    async (path: string, other: Buffer) => {
      await truncate(path, 0);
      await appendFile(path, Buffer.concat([other, other, other]));
    },
  ],
] as const) {
  test(`a journal that is ${name} while it is copied is copied again`, async (t) => {
    const root = await temporaryDirectory(t);
    await writeFile(join(root, 'journal'), randomBytes(2 * 1024 * 1024));
    const other = randomBytes(1024 * 1024);
    let armed = false;
    const fileSystem = meddling(async (call) => {
      if (!armed || call !== 'syncDirectory') return;
      armed = false;
      await meddle(join(root, 'journal'), other);
    });
    const b = await start(root, 'boot-a', { fileSystem });
    await b.capture.recover();
    armed = true;
    const outcome = captured(await b.capture.capture());
    assert.deepEqual(
      outcome.notes.map((note) => note.code),
      [`JOURNAL_${name.toUpperCase()}`],
    );
    assert.equal(outcome.captured.sequence, 1);
    assert.ok((await shipped(b.spool)).subarray(0, 1000).equals(other.subarray(0, 1000)));
    await b.close();
    assert.deepEqual(
      (await readdir(b.dir)).filter((file) => file > '0000000001.z'),
      [],
    );
  });
}

test('a missing, locked-away or impossible journal has its own error', async (t) => {
  const root = await temporaryDirectory(t);
  const b = await start(root, 'boot-a');
  await assert.rejects(b.capture.capture(), code('JOURNAL_MISSING'));
  await symlink(root, b.path);
  await assert.rejects(b.capture.capture(), code('JOURNAL_NOT_A_FILE'));
  await rm(b.path);
  await writeFile(b.path, 'one');
  captured(await b.capture.capture());
  await b.close();
});

test('an abort ends the wait for a lock at once, also the wait in the kernel', async (t) => {
  const b = await bench(t, Buffer.from('one'));
  const fd = openSync(b.path, 'r+');
  assert.ok(tryLock(fd));
  const soon = new AbortController();
  const trying = b.capture.capture(soon.signal);
  soon.abort();
  await assert.rejects(trying, { name: 'AbortError' });
  const later = AbortSignal.timeout(1300);
  await assert.rejects(b.capture.capture(later), { name: 'TimeoutError' });
  unlock(fd);
  // The abandoned wait is granted the lock now, and gives it back.
  captured(await b.capture.capture());
  closeSync(fd);
  await b.close();
});

test('a wait in the kernel gets the lock when the writer lets go', async (t: TestContext) => {
  const b = await bench(t, Buffer.from('one'));
  const writer = openSync(b.path, 'r+');
  const ours = openSync(b.path, 'r+');
  assert.ok(tryLock(writer));
  setTimeout(() => unlock(writer), 1300);
  const lock = await lockJournal(ours, b.path);
  assert.equal(tryLock(writer), false);
  lock.release();
  assert.equal(tryLock(writer), true);
  closeSync(writer);
  closeSync(ours);
  await b.close();
});

test('64 captures are settled at once, and a confirmed payload is then freed', async (t) => {
  const b = await bench(t);
  for (let i = 1; i <= 64; i += 1) {
    await appendFile(b.path, `record ${i}\n`);
    captured(await b.capture.capture());
    await b.spool.recordAck('r', i);
    if (i === 63) assert.equal(b.spool.batch(1)?.sequence, 1);
  }
  await b.capture.settle();
  assert.equal(b.spool.settledThrough, 64);
  assert.deepEqual(
    [...b.spool.batchesAfter(0)].map((batch) => batch.sequence),
    [64],
  );
  await b.close();
});

test('64 MB under a committing writer lose and double nothing', async (t) => {
  const bytesMax = 64 * 1024;
  const b = await bench(t);
  let first = 1;
  for (let bytes = 0; bytes < 64 * 1024 * 1024; first += 1) {
    const data = record(first, bytesMax);
    appendFileSync(b.path, data);
    bytes += data.length;
  }
  const writer = new JournalWriter(b.path, { bytesMax, first });
  await writer.started();
  const rss = process.memoryUsage().rss;
  const { captured: batch, lockHeldMs } = captured(await b.capture.capture());
  const grown = process.memoryUsage().rss - rss;
  for (let i = 0; i < 20; i += 1) await b.capture.capture();
  const report = await writer.stop();
  await b.capture.capture();
  const all = await shipped(b.spool);
  assert.equal(checkRecords(all, bytesMax), first - 1 + report.records);
  assert.ok(grown < 40 * 1024 * 1024, `memory grew by ${grown}`);
  t.diagnostic(
    `${batch.bytes} bytes: lock held ${lockHeldMs.toFixed(1)} ms, writer waited ${report.longestWaitMs.toFixed(1)} ms at most`,
  );
  assert.equal(dirname(b.path), dirname(b.dir));
  await b.close();
});
