import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sourceOfBlob } from '../../src/producers/payloadSource.js';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';

failOnLeaks();
const dir = tempDir();

test('a blob that is asked for piece by piece is read as it is', async () => {
  writeFileSync(join(dir, 'blob'), 'some bytes');
  const source = await sourceOfBlob(join(dir, 'blob'));
  const { ino, mtimeMs } = statSync(join(dir, 'blob'));
  assert.deepEqual([source.bytes, source.inode, source.mtimeMs], [10, ino, mtimeMs]);
  assert.equal((await source.read(5, 10)).toString(), 'bytes');
  await assert.rejects(source.read(5, 11), { code: 'PAYLOAD_SHORT' });
  await source.close();
});

test('what is no file is said, and a pipe is not waited for', async () => {
  mkdirSync(join(dir, 'folder'));
  execFileSync('mkfifo', [join(dir, 'pipe')]);
  for (const name of ['folder', 'pipe']) {
    await assert.rejects(sourceOfBlob(join(dir, name)), { code: 'BLOB_NOT_A_FILE' });
  }
  await assert.rejects(sourceOfBlob(join(dir, 'nothing')), { code: 'ENOENT' });
});
