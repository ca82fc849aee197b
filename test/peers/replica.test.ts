import assert from 'node:assert/strict';
import { createReadStream, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import {
  connectionsSettled,
  type Endpoint,
  H2Client,
  type SendRequest,
  send,
} from '../../src/protocol/index.js';
import { failOnLeaks } from '../support/leaks.js';
import { Replica, sameFiles, Writer } from '../support/picolisp.js';

const replica = await Replica.start();
const writer = await Writer.start();

after(async () => {
  await writer.stop();
  await replica.stop();
  await connectionsSettled();
});
// Here, with the peers running: its own hook must be the last one.
failOnLeaks();

function request(file: string, bytes: number, changes: Partial<SendRequest> = {}): SendRequest {
  return {
    endpoint: replica.endpoint(),
    body: { kind: 'batch' },
    bytes,
    payload: createReadStream(file, { highWaterMark: 512 * 1024 }),
    mayConfirm: () => true,
    signal: new AbortController().signal,
    ...changes,
  };
}

/** Sends all that is in the journal as one batch, as a capture would. */
async function ship(changes: Partial<Endpoint> = {}): Promise<number> {
  const bytes = statSync(writer.journal).size;
  const endpoint = { ...replica.endpoint(), ...changes };
  await send(request(writer.journal, bytes, { endpoint }));
  truncateSync(writer.journal, 0);
  return bytes;
}

describe('our sender and the real replica behind the real gate', () => {
  test('after several commits both databases are equal, byte for byte', async () => {
    for (const objects of [1, 20, 3]) {
      await writer.commit(objects, 100);
      await ship();
      assert.ok(sameFiles(writer.db, replica.db), `after a commit of ${objects}`);
    }
  });

  test('a batch of more than 20 MB is applied when the attempt is confirmed', async () => {
    await writer.commit(7_000, 1_000);
    const bytes = await ship();
    assert.ok(bytes >= 20_000_000, `${bytes} bytes`);
    assert.ok(sameFiles(writer.db, replica.db));
  });

  test('a batch sent twice in a row changes nothing', async () => {
    await writer.commit(50, 500);
    const bytes = statSync(writer.journal).size;
    await send(request(writer.journal, bytes));
    await ship();
    assert.ok(sameFiles(writer.db, replica.db));
  });

  test('identity headers do not disturb it', async () => {
    await writer.commit(2, 10);
    const bytes = statSync(writer.journal).size;
    const identity = {
      stream: 'a'.repeat(32),
      sequence: 1,
      previous: 0,
      sha256: 'b'.repeat(64),
    };
    await send(request(writer.journal, bytes, { identity }));
    truncateSync(writer.journal, 0);
    assert.ok(sameFiles(writer.db, replica.db));
  });

  test('a blob arrives whole under its path', async () => {
    const file = join(writer.db);
    const bytes = statSync(file).size;
    await send(request(file, bytes, { body: { kind: 'blob', path: 'a/b/c.bin' } }));
    assert.deepEqual(readFileSync(join(replica.blobs, 'a/b/c.bin')), readFileSync(file));
  });

  test('an empty blob arrives too', async () => {
    await send(request('/dev/null', 0, { body: { kind: 'blob', path: 'empty' } }));
    assert.equal(statSync(join(replica.blobs, 'empty')).size, 0);
  });

  test('a wrong key is told as a connection that closed without an answer, or a reset', async () => {
    await writer.commit(1, 10);
    const before = readFileSync(replica.db);
    const error = await ship({ key: Buffer.from('not this one\n') }).then(
      () => assert.fail('confirmed'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof FerryError);
    assert.match(error.code, /^(CLOSED_WITHOUT_ANSWER|CONNECTION_RESET)$/);
    assert.deepEqual(readFileSync(replica.db), before);
  });

  test('attempts given up at any moment leave the replica serving the next', async () => {
    const bytes = statSync(writer.journal).size;
    const lost = send(request(writer.journal, bytes, { mayConfirm: () => false }));
    await assert.rejects(lost, { code: 'LEASE_LOST' });
    for (let n = 0; n < 8; n += 1) {
      const abort = new AbortController();
      const sending = send(
        request(writer.journal, bytes, {
          signal: abort.signal,
          mayConfirm: () => {
            if (n % 2 === 0) abort.abort();
            else setImmediate(() => abort.abort());
            return true;
          },
        }),
      );
      await sending.catch((error: unknown) => assert.ok(error instanceof FerryError));
    }
    await ship();
    assert.ok(sameFiles(writer.db, replica.db));
  });

  test('that it does not speak HTTP/2 is told before anything is sent, and it serves the next', async () => {
    await writer.commit(1, 10);
    const h2 = new H2Client();
    const endpoint: Endpoint = { ...replica.endpoint(), dialect: 'h2' };
    const bytes = statSync(writer.journal).size;
    const error = await h2.send(request(writer.journal, bytes, { endpoint })).then(
      () => assert.fail('confirmed'),
      (e: unknown) => e,
    );
    await h2.close();
    assert.ok(error instanceof FerryError);
    assert.equal(error.code, 'HTTP2_NOT_OFFERED');
    await ship();
    assert.ok(sameFiles(writer.db, replica.db));
  });

  test('a url that is not allowed is an HTTP answer', async () => {
    await writer.commit(1, 10);
    const error = await ship({ url: `${replica.port}/secret.txt` }).then(
      () => assert.fail('confirmed'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof FerryError);
    assert.equal(error.code, 'HTTP_ANSWER');
    assert.equal(error.context['status'], 404);
    await ship();
    assert.ok(sameFiles(writer.db, replica.db));
  });
});
