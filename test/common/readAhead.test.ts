import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Checksum, digestOfFile, sha256Of } from '../../src/common/digest.js';
import { type OpenFile, openFile } from '../../src/common/openFile.js';
import { readAhead } from '../../src/common/readAhead.js';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';

failOnLeaks();
const path = join(tempDir(), 'file');
const PIECE = 1_000;

async function gathered(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(Buffer.from(piece));
  return Buffer.concat(all);
}

test('a range comes as it is, whatever its length is', async () => {
  const content = randomBytes(5 * PIECE + 1);
  writeFileSync(path, content);
  const file = await openFile(path, 'r');
  const lengths = [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 4 * PIECE + 7];
  for (const from of [0, 1, PIECE]) {
    for (const bytes of lengths) {
      const got = await gathered(readAhead(file, from, bytes, PIECE));
      assert.deepEqual(got, content.subarray(from, from + bytes));
    }
  }
  assert.deepEqual(await gathered(readAhead(file, 0, content.length)), content);
  await file.close();
});

test('it ends where the file ends, and nothing is nothing', async () => {
  const content = randomBytes(2 * PIECE + 5);
  writeFileSync(path, content);
  const file = await openFile(path, 'r');
  assert.deepEqual(await gathered(readAhead(file, 0, 10 * PIECE, PIECE)), content);
  for (const bytes of [0, -1, -PIECE]) {
    assert.equal((await gathered(readAhead(file, 0, bytes, PIECE))).length, 0);
  }
  const shrinking = readAhead(file, 0, content.length, PIECE);
  await shrinking.next();
  truncateSync(path, PIECE);
  const rest = await gathered(shrinking);
  assert.ok(rest.length <= PIECE, 'what had been read ahead');
  await file.close();
});

/** Reads that end when the test says so. */
function slowFile(): { file: Pick<OpenFile, 'read'>; finish: (error?: Error) => void } {
  const pending: ((error?: Error) => void)[] = [];
  const file: Pick<OpenFile, 'read'> = {
    read: (buffer, _from, length) =>
      new Promise((resolve, reject) => {
        pending.push((error) => {
          if (error === undefined) resolve({ bytesRead: length, buffer });
          else reject(error);
        });
      }),
  };
  return { file, finish: (error) => pending.shift()?.(error) };
}

test('who stops early can wait for the read that is under way', async () => {
  for (const error of [undefined, new Error('EIO')]) {
    const { file, finish } = slowFile();
    const pieces = readAhead(file, 0, 3 * PIECE, PIECE);
    const first = pieces.next();
    finish();
    await first;
    let isOver = false;
    const over = pieces.return().then(() => {
      isOver = true;
    });
    await new Promise(setImmediate);
    assert.equal(isOver, false);
    finish(error);
    await over;
  }
});

test('an error comes when its piece is asked for, and is met by nobody else', async () => {
  const { file, finish } = slowFile();
  const pieces = readAhead(file, 0, 3 * PIECE, PIECE);
  const first = pieces.next();
  finish();
  await first;
  const error = new Error('EIO');
  finish(error);
  await new Promise(setImmediate);
  await assert.rejects(pieces.next(), error);
});

test('the digest of a file is that of its bytes', async () => {
  for (const size of [0, 1, 4_096, 1024 * 1024 - 1, 1024 * 1024, 2 * 1024 * 1024 + 3]) {
    const content = randomBytes(size);
    writeFileSync(path, content);
    assert.deepEqual(await digestOfFile(path), { bytes: size, sha256: sha256Of(content) });
  }
  await assert.rejects(digestOfFile(`${path}.none`), { code: 'ENOENT' });
});

test('a checksum is the same in one piece or in many', async () => {
  const content = randomBytes(10_000);
  const whole = new Checksum();
  whole.add(content);
  const pieces = new Checksum();
  async function* cut(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < content.length; at += 999) yield content.subarray(at, at + 999);
  }
  assert.deepEqual(await gathered(pieces.over(cut())), content);
  assert.equal(pieces.value, whole.value);
  whole.add(Buffer.from('x'));
  assert.notEqual(pieces.value, whole.value);
});
