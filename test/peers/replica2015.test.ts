/**
 * Our sender and a server of the 2015 dialect behind the real httpGate. It answers a journal before
 * it applies it, and closes by itself: our sender took that for a false ack, so that no small batch
 * was ever confirmed there.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createReadStream, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Body, connectionsSettled, send } from '../../src/protocol/index.js';
import { pieces } from '../protocol/scriptedServer.js';
import { failOnLeaks } from '../support/leaks.js';
import { REPLICA_2015, Replica, sameFiles, Writer } from '../support/picolisp.js';

const replica = await Replica.start(REPLICA_2015);
const writer = await Writer.start();

after(async () => {
  await writer.stop();
  await replica.stop();
  await connectionsSettled();
});
failOnLeaks();

function ship(body: Body, bytes: number, payload: AsyncIterable<Uint8Array>) {
  const endpoint = { ...replica.endpoint(), dialect: 'eof' as const };
  const signal = new AbortController().signal;
  return send({ endpoint, body, bytes, payload, mayConfirm: () => true, signal });
}

describe('our sender and a server of the 2015 dialect behind the real gate', () => {
  for (const objects of [1, 30, 5_000]) {
    test(`a commit of ${objects} is confirmed, and then the databases are equal`, async () => {
      await writer.commit(objects, 500);
      const bytes = statSync(writer.journal).size;
      await ship({ kind: 'batch' }, bytes, createReadStream(writer.journal));
      truncateSync(writer.journal, 0);
      assert.ok(sameFiles(writer.db, replica.db));
    });
  }

  for (const bytes of [70_001, 3, 0]) {
    test(`a blob of ${bytes} bytes is there when it is confirmed, also over another one`, async () => {
      const image = randomBytes(bytes);
      await ship({ kind: 'blob', path: 'a/b/1.img' }, bytes, pieces(image));
      assert.ok(readFileSync(join(replica.blobs, 'a/b/1.img')).equals(image));
    });
  }
});
