import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { Replica, sameFiles, Writer } from '../support/picolisp.js';
import { runFerry, until } from '../support/process.js';
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
    const blobDir = site.path('blob');
    await configure(site);
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

  it('makes a replica equal that was restored from an older backup', async () => {
    const site = await Site.make();
    const name = await configure(site);
    const route = `${name}@replica`;
    const say = async (...words: string[]): Promise<string> => {
      const { code, stdout, stderr } = await runFerry(words, { cwd: site.dir });
      assert.equal(code, 0, stderr);
      return stdout;
    };
    await site.start('run');
    const idle = async (): Promise<boolean> => {
      const { state, journalBytes } = await site.route(route);
      return state === 'idle' && journalBytes === 0;
    };
    const ship = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round += 1) {
        await database.commit(round === 2 ? 400 : 5, 1_000);
        await until('it is taken', () => statSync(database.journal).size === 0, ARRIVAL_MS);
      }
      await until('everything is confirmed', idle, ARRIVAL_MS);
    };
    await ship(2);
    const backup = site.path('backup');
    const { head } = await site.route(route);
    await replica.whileDown(() => copyFileSync(replica.db, backup));
    await ship(5);
    assert.ok(sameFiles(database.db, replica.db));
    // As operations.md says it: a PicoLisp replica cannot refuse what does not follow.
    await say('pause', route);
    await replica.whileDown(() => copyFileSync(backup, replica.db));
    assert.ok(!sameFiles(database.db, replica.db));
    await database.commit(5, 1_000);
    const early = await runFerry(
      ['replay', route, '--from', `${head}`, '--to', `${head}`, '--yes'],
      {
        cwd: site.dir,
      },
    );
    assert.match(early.stderr, /must reach the last delivered batch/);
    await say('replay', route, '--from', `${head}`, '--yes');
    await say('resume', route);
    await database.commit(5, 1_000);
    await until('everything is confirmed', idle, ARRIVAL_MS);
    assert.ok(sameFiles(database.db, replica.db), 'the databases are equal');
  });
});

/** @returns the journal's name */
async function configure(site: Site): Promise<string> {
  await writeFile(site.path('replica.key'), replica.key);
  await mkdir(site.path('blob'));
  const name = basename(database.journal);
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
  - {name: ${name}, path: ${database.journal}, blobs: ./blob/, to: replica, interval: 500ms}
`,
  );
  return name;
}
