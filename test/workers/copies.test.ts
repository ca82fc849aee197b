import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { DirectoryDestination } from '../../src/config/model.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import { Copies } from '../../src/workers/copies.js';
import { tempDir } from '../support/tempDir.js';

function site(names: readonly string[] = ['a', 'b']) {
  const folder = tempDir();
  const directories = names.map((name) => join(folder, name));
  for (const directory of directories) mkdirSync(directory);
  const destination: DirectoryDestination = {
    kind: 'directories',
    name: 'archive',
    directories,
    connections: 1,
    was: [],
  };
  const copies = new Copies(folder);
  const put = (sequence: number, text: string, mayCommit = () => true, stream = 's') =>
    copies.putBatch(destination, batch(sequence, text, stream), pieces(text), mayCommit);
  return { folder, directories, destination, copies, put };
}

function batch(sequence: number, text: string, stream: string): BatchJob {
  return {
    route: 'foo@archive',
    journal: 'foo',
    destination: 'archive',
    generation: 1,
    stream,
    sequence,
    bytes: Buffer.byteLength(text),
    sha256: createHash('sha256').update(text).digest('hex'),
    sealedAtMs: 0,
    payload: { kind: 'spool', file: '', offset: 0 },
  };
}

async function* pieces(text: string): AsyncIterable<Uint8Array> {
  for (const piece of text.match(/.{1,3}/gs) ?? []) yield Buffer.from(piece);
}

function contents(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory)
      .sort()
      .map((name) => [name, readFileSync(join(directory, name), 'utf8')]),
  );
}

describe('copies of batches in directories', () => {
  test('numbers go on behind the highest in each directory, and hard links share one file', async () => {
    const { directories, put } = site();
    const [a = '', b = ''] = directories;
    writeFileSync(join(b, '7'), 'old');
    writeFileSync(join(b, '9x'), 'no number');
    await put(1, 'first');
    await put(2, 'second');
    assert.deepEqual(contents(a), { 1: 'first', 2: 'second' });
    assert.deepEqual(contents(b), { 7: 'old', 8: 'first', 9: 'second', '9x': 'no number' });
    assert.equal(statSync(join(a, '1')).ino, statSync(join(b, '8')).ino);
  });

  test('a batch that comes again, even much later, is not copied again', async () => {
    const { directories, put } = site(['a']);
    await put(1, 'first');
    await put(2, 'second');
    await put(1, 'first');
    await put(2, 'second');
    assert.deepEqual(contents(directories[0] ?? ''), { 1: 'first', 2: 'second' });
  });

  test('another stream begins anew: its numbers prove nothing', async () => {
    const { directories, put } = site(['a']);
    await put(1, 'first');
    await put(1, 'first of another', () => true, 't');
    assert.deepEqual(contents(directories[0] ?? ''), { 1: 'first', 2: 'first of another' });
  });

  test('an attempt that broke off between two directories goes on with the same numbers', async () => {
    const { directories, put } = site();
    const [a = '', b = ''] = directories;
    await assert.rejects(
      put(1, 'first', () => false),
      { code: 'LEASE_LOST' },
    );
    assert.deepEqual(readdirSync(a), ['.foo%40archive.part']);
    // As if a kill had come after the first directory had its copy.
    writeFileSync(join(a, '1'), 'first');
    await put(1, 'first');
    assert.deepEqual(contents(b), { 1: 'first' });
    assert.equal(readFileSync(join(a, '1'), 'utf8'), 'first');
    assert.ok(!readdirSync(a).includes('2'));
  });

  test('a number that somebody else took meanwhile is left to him', async () => {
    const { directories, put } = site(['a']);
    const [a = ''] = directories;
    await assert.rejects(
      put(1, 'first', () => false),
      { code: 'LEASE_LOST' },
    );
    writeFileSync(join(a, 'other'), 'not ours');
    linkSync(join(a, 'other'), join(a, '1'));
    await put(1, 'first');
    assert.equal(readFileSync(join(a, '1'), 'utf8'), 'not ours');
    assert.equal(readFileSync(join(a, '2'), 'utf8'), 'first');
    assert.deepEqual(readdirSync(a).sort(), ['1', '2', 'other']);
  });

  test('a missing directory holds the batch and the others have it once', async () => {
    const { directories, destination, copies } = site(['a']);
    const [a = ''] = directories;
    const missing = join(a, '../missing');
    const both = { ...destination, directories: [missing, ...directories] };
    const put = () => copies.putBatch(both, batch(1, 'first', 's'), pieces('first'), () => true);
    await assert.rejects(put(), { code: 'COPY_DIRECTORY_MISSING' });
    await assert.rejects(put(), { code: 'COPY_DIRECTORY_MISSING' });
    mkdirSync(missing);
    await put();
    assert.deepEqual(contents(a), { 1: 'first' });
    assert.deepEqual(contents(missing), { 1: 'first' });
    assert.equal(statSync(join(a, '1')).ino, statSync(join(missing, '1')).ino);
  });

  test('without directories nothing is kept', async () => {
    const { folder, put } = site([]);
    await put(1, 'first');
    assert.deepEqual(readdirSync(folder), []);
  });

  test('a payload that is too short gets no name', async () => {
    const { directories, destination, copies } = site(['a']);
    const short = copies.putBatch(destination, batch(1, 'first', 's'), pieces('fir'), () => true);
    await assert.rejects(short, { code: 'PAYLOAD_MISMATCH' });
    assert.deepEqual(readdirSync(directories[0] ?? ''), ['.foo%40archive.part']);
  });

  test('a blob’s link is made again in each directory and leads to the same file', async () => {
    const { folder, directories, destination, copies } = site();
    const blobs = join(folder, 'blobs');
    mkdirSync(join(blobs, '1'), { recursive: true });
    writeFileSync(join(blobs, '1/2'), 'content');
    symlinkSync('1/2', join(blobs, '=12.pic'));
    const payload = { kind: 'file', path: join(blobs, '=12.pic') } as const;
    const job = { link: '=12.pic', text: '1/2', version: 1, follows: 0, payload };
    const blob = { ...batch(1, '', 's'), ...job };
    for (let round = 0; round < 2; round += 1) {
      const sent = await copies.putBlob(destination, blob);
      assert.equal(sent.bytes, 7);
      for (const directory of directories) {
        assert.equal(readlinkSync(join(directory, '=12.pic')), '../blobs/1/2');
        assert.equal(readFileSync(join(directory, '=12.pic'), 'utf8'), 'content');
      }
    }
  });
});
