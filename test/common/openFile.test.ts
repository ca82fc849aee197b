import assert from 'node:assert/strict';
import { constants, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openFile } from '../../src/common/openFile.js';
import { memoryDir } from '../support/tempDir.js';

const KB = 1024;
const dir = memoryDir();

/** Tiny ones are made at once, the others go through the thread pool: both must do the same. */
const SIZES = [1, 64 * KB, 64 * KB + 1, 3 * KB * KB];

function pattern(bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7) % 251));
}

describe('an open file', () => {
  for (const bytes of SIZES) {
    it(`writes, reads, looks, cuts: ${bytes} bytes`, async () => {
      const path = join(dir, `plain-${bytes}`);
      const file = await openFile(path, 'wx+', 0o600);
      const data = pattern(bytes);
      assert.deepEqual(await file.write(data, 0, bytes, 3), { bytesWritten: bytes });
      assert.equal((await file.stat()).size, bytes + 3);
      await file.datasync();
      await file.sync();
      const into = Buffer.alloc(bytes + 2);
      const { bytesRead } = await file.read(into, 1, bytes + 1, 3);
      assert.equal(bytesRead, bytes);
      assert.ok(into.subarray(1, bytes + 1).equals(data));
      await file.truncate(2);
      assert.equal(statSync(path).size, 2);
      await file.truncate();
      assert.equal(statSync(path).size, 0);
      await file.close();
      assert.equal(file.fd, -1);
      await file.close();
    });
  }

  it('writes several buffers, one behind the other', async () => {
    const path = join(dir, 'several');
    const file = await openFile(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    assert.deepEqual(await file.writev([pattern(5)], 0), { bytesWritten: 5 });
    assert.deepEqual(await file.writev([pattern(2), pattern(70 * KB)], 5), {
      bytesWritten: 2 + 70 * KB,
    });
    await file.close();
    const whole = Buffer.concat([pattern(5), pattern(2), pattern(70 * KB)]);
    assert.ok(readFileSync(path).equals(whole));
  });

  it('is emptied as it is opened, when the flags say so', async () => {
    const path = join(dir, 'emptied');
    for (const flags of ['w', constants.O_WRONLY | constants.O_TRUNC]) {
      writeFileSync(path, 'old');
      const file = await openFile(path, flags);
      assert.equal((await file.stat()).size, 0);
      await file.close();
    }
  });

  it('says what is wrong as Node does', async () => {
    await assert.rejects(openFile(join(dir, 'missing'), 'r'), { code: 'ENOENT' });
    const path = join(dir, 'closed');
    const file = await openFile(path, 'w+');
    await file.close();
    await assert.rejects(file.write(pattern(1), 0, 1, 0));
    await assert.rejects(file.read(Buffer.alloc(1), 0, 1, 0));
    await assert.rejects(file.truncate());
    await assert.rejects(file.stat());
    await assert.rejects(file.datasync());
    const reader = await openFile(path, 'r');
    await assert.rejects(reader.write(pattern(1), 0, 1, 0), { code: 'EBADF' });
    await reader.close();
  });
});
