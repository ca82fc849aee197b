import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlobWindow } from '../../src/producers/blobWindow.js';
import type { PendingBlob } from '../../src/producers/spool/types.js';

const blob = (n: number, version = n): PendingBlob => ({
  link: `=${n}`,
  text: `${n}`,
  version,
  afterSequence: 0,
  confirmedBy: [],
});

test('a window holds a thousand blobs, and knows of each which version', () => {
  const window = new BlobWindow();
  assert.equal(window.room(0), 1_000);
  for (let n = 1; n <= 1_000; n += 1) window.add(blob(n));
  assert.equal(window.room(0), 0);
  assert.ok(window.has(blob(7)));
  assert.ok(!window.has(blob(7, 1_001)), 'made again, it is another one');
  assert.ok(window.hasLink(blob(7, 1_001)));
  window.add(blob(7, 1_001));
  assert.equal(window.size, 1_000);
  window.delete(blob(7, 1_001));
  assert.equal(window.room(0), 1);
  window.clear();
  assert.equal(window.room(0), 1_000);
});

test('those that fail keep nobody out, up to a bound', () => {
  const window = new BlobWindow();
  for (let n = 1; n <= 1_000; n += 1) window.add(blob(n));
  assert.equal(window.room(300), 300);
  assert.equal(window.room(2_000), 1_000, 'others have failed, too, of a former process');
  for (let n = 1_001; n <= 10_000; n += 1) window.add(blob(n));
  assert.equal(window.room(10_000), 0);
});
