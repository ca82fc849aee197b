/** FERRY_DIALECT=eof: our daemon against a server of the 2015 dialect behind the real httpGate. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { announceBlob } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { REPLICA_2015, Replica, sameFiles, Writer } from '../support/picolisp.js';
import { killPid, until } from '../support/process.js';
import { User } from './daemons.js';

const ARRIVAL_MS = 60_000;

const replica = await Replica.start(REPLICA_2015);
const database = await Writer.start();

after(async () => {
  await database.stop();
  await replica.stop();
});
failOnLeaks();

describe('a server of the 2015 dialect', () => {
  test('gets journals and blobs: no length, no answer, every symbolic link is a blob', async () => {
    const user = new User({ FERRY_DIALECT: 'eof' });
    writeFileSync(user.path('key'), replica.key);
    const blobs = user.path('blob/');
    mkdirSync(blobs);
    const pid = await user.daemon([
      ...['localhost', String(replica.gatePort), `${replica.port}/!replica`, 'key'],
      ...[database.journal, 'blob/', '1', '0'],
    ]);
    const images = new Map([
      ['a/b/1.img', randomBytes(70_001)],
      ['a/2.img', randomBytes(3)],
      ['a/empty.img', Buffer.alloc(0)],
    ]);
    await database.commit(20, 500);
    for (const [path, image] of images) {
      await announceBlob(blobs, path.replaceAll('/', '_').replace('a_2', '=a_2'), path, image);
    }
    await database.commit(2_000, 500);
    await until('the databases are equal', () => sameFiles(database.db, replica.db), ARRIVAL_MS);
    await until(
      'the links are gone',
      () => readdirSync(blobs, { withFileTypes: true }).every((one) => !one.isSymbolicLink()),
      ARRIVAL_MS,
    );
    for (const [path, image] of images) {
      assert.ok(readFileSync(join(replica.blobs, path)).equals(image), path);
    }
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });
});
