import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { BlobDirectory } from '../../src/producers/blobDirectory.js';
import type { BlobSent } from '../../src/queue/jobs.js';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';

failOnLeaks();
const dir = tempDir();
const blobs = new BlobDirectory(dir);

/** Writes a file, and says of it what a worker would have sent. */
function sent(name: string, content: Buffer, withSum: boolean): BlobSent {
  const path = join(dir, name);
  writeFileSync(path, content);
  const { ino, size, mtimeMs } = statSync(path);
  return { inode: ino, bytes: size, mtimeMs, crc32: withSum ? crc32(content) : null };
}

for (const size of [0, 1, 64 * 1024, 64 * 1024 + 1]) {
  test(`a blob of ${size} bytes that is as it was sent has not changed`, async () => {
    for (const withSum of [true, false]) {
      const was = sent('same', randomBytes(size), withSum);
      assert.equal(await blobs.hasChanged('same', [was, was]), false);
      assert.equal(await blobs.hasChanged('same', []), false);
      assert.equal(await blobs.hasChanged('same', [was, null]), true, 'nobody knows');
    }
  });
}

for (const size of [1, 64 * 1024, 64 * 1024 + 1]) {
  test(`one of ${size} bytes with other bytes at the same time and length has`, async () => {
    const was = sent('other', randomBytes(size), true);
    writeFileSync(join(dir, 'other'), randomBytes(size).fill(0, 1));
    const seconds = was.mtimeMs / 1000;
    utimesSync(join(dir, 'other'), seconds, seconds);
    const now = { ...was, mtimeMs: statSync(join(dir, 'other')).mtimeMs };
    assert.equal(await blobs.hasChanged('other', [now]), true);
  });
}

test('another file, another length and another time are a change, no file is none', async () => {
  const was = sent('blob', Buffer.from('hello'), false);
  for (const other of [{ inode: 1 }, { bytes: 6 }, { mtimeMs: was.mtimeMs + 1 }]) {
    assert.equal(await blobs.hasChanged('blob', [was, { ...was, ...other }]), true);
  }
  rmSync(join(dir, 'blob'));
  assert.equal(await blobs.hasChanged('blob', [was]), false);
});

test('a pipe in the place of a file is not waited for', async () => {
  execFileSync('mkfifo', [join(dir, 'pipe')]);
  const { ino, size, mtimeMs } = statSync(join(dir, 'pipe'));
  const was = { inode: ino, bytes: size, mtimeMs, crc32: crc32('x') };
  assert.equal(await blobs.hasChanged('pipe', [was]), true);
});

test('links say where they lead, and are made again', async () => {
  mkdirSync(join(dir, 'a'));
  writeFileSync(join(dir, 'a', '1'), 'x');
  symlinkSync('a/1', join(dir, '=1.pic'));
  symlinkSync('a/2', join(dir, '=2.pic'));
  assert.equal(await blobs.textOf('=1.pic'), 'a/1');
  assert.equal(await blobs.textOf('a'), null, 'no link');
  assert.equal(await blobs.textOf('nothing'), null);
  assert.equal(await blobs.leadsTo('=1.pic'), true);
  assert.equal(await blobs.leadsTo('=2.pic'), false);
  assert.equal(await blobs.leadsTo('a/1'), true);
  await assert.rejects(blobs.leadsTo('a/1/2'), { code: 'ENOTDIR' });
  await blobs.remove('=1.pic');
  await assert.rejects(blobs.remove('=1.pic'), { code: 'ENOENT' });
  await blobs.makeAgain('=1.pic', 'a/1');
  await blobs.makeAgain('=1.pic', 'a/2');
  assert.equal(readlinkSync(join(dir, '=1.pic')), 'a/1', 'its writer was quicker');
});
