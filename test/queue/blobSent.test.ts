import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blobSentOf } from '../../src/queue/jobs.js';

const FILE = { inode: 1, bytes: 2, mtimeMs: 3 };

test('what a worker has sent is read as it was written', () => {
  for (const crc32 of [null, 0, 0xffff_ffff]) {
    const sent = { ...FILE, crc32 };
    assert.deepEqual(blobSentOf(JSON.stringify(sent)), sent);
  }
});

test('of an older version a digest is like no checksum, and none is none', () => {
  const digest = blobSentOf(JSON.stringify({ ...FILE, sha256: 'ab'.repeat(32) }));
  assert.ok(Number.isNaN(digest.crc32), 'sent once more, whatever lies there');
  assert.equal(blobSentOf(JSON.stringify({ ...FILE, sha256: null })).crc32, null);
});
