import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openBlobFile } from '../../src/workers/blobFile.js';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';

failOnLeaks();
const dir = tempDir();
const link = join(dir, '=1.pic');

async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

for (const size of [0, 1, 64 * 1024, 64 * 1024 + 1, 3 * 1024 * 1024 + 1]) {
  test(`a blob of ${size} bytes is read as it is`, async () => {
    const content = randomBytes(size);
    writeFileSync(join(dir, 'blob'), content);
    const blob = await openBlobFile(link, 'blob');
    assert.equal(blob.bytes, size);
    assert.deepEqual(await readAll(blob.chunks), content);
    await blob.close();
  });
}

test('one that changes after it was opened yields the announced bytes, or fewer', async () => {
  for (const size of [1_000, 100_000]) {
    writeFileSync(join(dir, 'growing'), randomBytes(size));
    const growing = await openBlobFile(link, 'growing');
    appendFileSync(join(dir, 'growing'), 'more');
    assert.equal((await readAll(growing.chunks)).length, size);
    await growing.close();

    writeFileSync(join(dir, 'shrinking'), randomBytes(size));
    const shrinking = await openBlobFile(link, 'shrinking');
    truncateSync(join(dir, 'shrinking'), 10);
    assert.equal((await readAll(shrinking.chunks)).length, 10);
    await shrinking.close();
  }
});

test('one that nobody reads is closed all the same, also in the middle', async () => {
  const content = randomBytes(3 * 1024 * 1024);
  writeFileSync(join(dir, 'large'), content);
  writeFileSync(join(dir, 'small'), 'x');
  for (const name of ['large', 'small']) await (await openBlobFile(link, name)).close();
  const blob = await openBlobFile(link, 'large');
  for await (const chunk of blob.chunks) {
    assert.deepEqual(chunk, content.subarray(0, chunk.length));
    break;
  }
  await blob.close();
});

test('what is missing, or no file, is said, and a pipe is not waited for', async () => {
  mkdirSync(join(dir, 'folder'));
  execFileSync('mkfifo', [join(dir, 'pipe')]);
  await assert.rejects(openBlobFile(link, 'nothing'), { code: 'BLOB_MISSING' });
  await assert.rejects(openBlobFile(link, 'folder'), { code: 'BLOB_NOT_A_FILE' });
  await assert.rejects(openBlobFile(link, 'pipe'), { code: 'BLOB_NOT_A_FILE' });
});
