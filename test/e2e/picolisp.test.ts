import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { Replica, sameFiles, Writer } from '../support/picolisp.js';
import { until } from '../support/process.js';
import { ARRIVAL_MS, announceBlob, Site } from './site.js';

const replica = await Replica.start();
const database = await Writer.start();
after(async () => {
  await database.stop();
  await replica.stop();
});
failOnLeaks();

describe('a PicoLisp database, ferry run, the real httpGate and the real replica.l', () => {
  it('makes both databases equal byte for byte, and the blobs, with a SIGKILL in between', async () => {
    const site = await Site.make();
    await writeFile(site.path('replica.key'), replica.key);
    const blobDir = site.path('blob');
    await mkdir(blobDir);
    await writeFile(
      site.path('ferry.yaml'),
      `redis: embedded
destinations:
  replica:
    host: localhost
    port: ${replica.gatePort}
    url: "${replica.port}/!replica"
    key: ./replica.key
    tls: {ca: ${testCerts().caFile}}
journals:
  - {name: ${basename(database.journal)}, path: ${database.journal}, blobs: ./blob/, to: replica, interval: 500ms}
`,
    );
    const route = `${basename(database.journal)}@replica`;
    let ferry = await site.start('run');
    const images = new Map<string, Buffer>();
    for (let round = 0; round < 12; round += 1) {
      await database.commit(round === 6 ? 3_000 : 5, 1_000);
      if (round % 3 === 0) {
        const image = randomBytes(40_000 + round);
        images.set(`x/${round}.img`, image);
        await announceBlob(blobDir, `=${round}.img`, `x/${round}.img`, image);
      }
      if (round === 5) {
        await ferry.kill('SIGKILL');
        ferry = await site.start('run');
      }
    }
    await until(
      'everything is confirmed',
      async () => {
        const status = await site.route(route);
        return status.state === 'idle' && status.journalBytes === 0;
      },
      ARRIVAL_MS,
    );
    assert.ok(sameFiles(database.db, replica.db), 'the databases are equal');
    for (const [path, image] of images) {
      assert.ok(readFileSync(join(replica.blobs, path)).equals(image), path);
    }
    for (const path of images.keys()) {
      const link = join(blobDir, `=${basename(path)}`);
      await until(`${link} is gone`, () => !existsSync(link));
    }
    assert.ok(existsSync(dirname(database.journal)));
    assert.deepEqual(await ferry.kill('SIGTERM', 10_000), { code: 0, signal: null });
  });
});
