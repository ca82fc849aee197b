import assert from 'node:assert/strict';
import { statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { mayKeepMtime } from '../../src/workers/youngFile.js';
import { tempDir } from '../support/tempDir.js';

const LARGE = 1_000_000;
const WRITTEN = 1_700_000_000_123.4;
const dir = tempDir();

describe('whether a file that is changed again may keep its mtime', () => {
  it('is so for 2 s on a file system that is not known, and for a small file', async () => {
    const after = (ms: number, path: string, bytes: number) =>
      mayKeepMtime(path, { mtimeMs: WRITTEN, bytes }, WRITTEN + ms);
    for (const [path, bytes] of [
      ['/proc', LARGE],
      ['/no/such/place', LARGE],
      ['', LARGE],
      [dir, 100],
    ] as const) {
      assert.equal(await after(-5_000, path, bytes), true, `${path}: a clock that was set back`);
      assert.equal(await after(1_900, path, bytes), true, path);
      assert.equal(await after(2_000, path, bytes), false, path);
    }
  });

  it('is so for whole seconds, whatever the file system says it is', async () => {
    const mtimeMs = 1_700_000_000_000;
    assert.equal(await mayKeepMtime(dir, { mtimeMs, bytes: LARGE }, mtimeMs + 1_900), true);
  });

  it('is over after some ticks of the clock where nanoseconds are kept, and that is right', async (t) => {
    const fine = new Map([
      [0xef53, 'ext4'],
      [0x58465342, 'XFS'],
      [0x9123683e, 'Btrfs'],
      [0x01021994, 'tmpfs'],
    ]);
    if (!fine.has(statfsSync(dir).type)) return t.skip('the temporary directory is on another one');
    const path = join(dir, 'blob');
    // Changed again as soon as the answer is "no": then the mtime must be another one.
    for (let round = 0; round < 20; round += 1) {
      writeFileSync(path, `${round}`);
      const { mtimeMs } = statSync(path);
      assert.equal(await mayKeepMtime(path, { mtimeMs, bytes: LARGE }, mtimeMs + 10), true);
      while (await mayKeepMtime(path, { mtimeMs, bytes: LARGE }));
      assert.ok(Date.now() - mtimeMs < 2_000, 'long before 2 s');
      writeFileSync(path, `${round}`);
      assert.notEqual(statSync(path).mtimeMs, mtimeMs);
    }
  });
});
