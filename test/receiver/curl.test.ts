import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { formatBatchKey, formatDigest } from '../../src/protocol/identityHeaders.js';
import { testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';
import { claim, KEY, sha256, TestReceiver } from './harness.js';

const receiver = await new TestReceiver().start();
after(() => receiver.stop());
failOnLeaks();

const folder = tempDir();
const AUTHORIZED = ['-H', `Authorization: Bearer ${KEY.trimEnd()}`];

/** What curl prints of the answer's status and body, and its exit code. */
function curl(...args: readonly string[]): Promise<{ status: string; body: string; code: number }> {
  const all = [
    '-sS',
    '--cacert',
    testCerts().caFile,
    '-w',
    '\n%{http_version} %{http_code}',
    ...args,
  ];
  return new Promise((resolve) => {
    execFile('curl', all, (error, stdout) => {
      const at = stdout.lastIndexOf('\n');
      const code = error === null ? 0 : Number(error.code);
      resolve({ status: stdout.slice(at + 1), body: stdout.slice(0, at), code });
    });
  });
}

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const at = (path: string) => `https://localhost:${receiver.port}/${path}`;

describe('curl', () => {
  test('delivers a batch, small or large, and a blob', async () => {
    const large = randomBytes(5_000_000);
    for (const content of ['a batch\n', large]) {
      const batch = `@${file('batch', content)}`;
      const answer = await curl('--http2', '--data-binary', batch, ...AUTHORIZED, at('foo.r'));
      assert.deepEqual(answer, { status: '2 204', body: '', code: 0 });
    }
    assert.deepEqual(receiver.batches(), ['a batch\n', large.toString('latin1')]);
    const image = file('image', 'an image');
    const answer = await curl('--http2', '-T', image, ...AUTHORIZED, at('foo.r/blobs/a/b%20c.jpg'));
    assert.equal(answer.status, '2 204');
    assert.equal(receiver.blob('a/b c.jpg'), 'an image');
  });

  test('may say who the batch is, and learns why it is refused', async () => {
    const identity = claim(1, 0, 'one');
    const headers = [
      ...['-H', `Idempotency-Key: ${formatBatchKey(identity)}`],
      ...['-H', `Content-Digest: ${formatDigest(identity.sha256)}`],
    ];
    const send = (name: string, ...more: string[]) =>
      curl('--http2', '--data-binary', `@${name}`, ...AUTHORIZED, ...more, at('foo.r'));
    const before = receiver.batches().length;
    for (let n = 0; n < 2; n += 1) {
      assert.equal((await send(file('one', 'one'), ...headers)).status, '2 204');
    }
    assert.equal(receiver.batches().length, before + 1);
    const later = [
      '-H',
      `Idempotency-Key: ${formatBatchKey({ ...identity, sequence: 9, previous: 8 })}`,
    ];
    const gap = await send(file('nine', Buffer.alloc(3_000_000)), ...later);
    assert.equal(gap.status, '2 409');
    assert.deepEqual(JSON.parse(gap.body), { status: 409, reason: 'gap', last: 1 });
    const other = ['-H', `Content-Digest: ${formatDigest(sha256('other'))}`];
    assert.equal((await send(file('this', 'this'), ...other)).status, '2 422');
    assert.equal(receiver.batches().length, before + 1);
    const wrong = await curl(
      '--http2',
      '--data-binary',
      '@/dev/null',
      '-H',
      'Authorization: Bearer x',
      at('foo.r'),
    );
    assert.equal(wrong.status, '2 403');
  });

  test('that asks for HTTP/1.1 meets the old wire, which knows no POST', async () => {
    const batch = `@${file('batch', 'a batch')}`;
    const before = receiver.batches().length;
    const answer = await curl('--http1.1', '--data-binary', batch, ...AUTHORIZED, at('foo.r'));
    assert.equal(answer.code, 52); // an empty reply
    assert.equal(receiver.batches().length, before);
  });
});
