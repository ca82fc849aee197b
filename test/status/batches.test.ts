import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { createServer } from 'node:tls';
import { createLogger } from '../../src/common/logger.js';
import { loadConfig } from '../../src/config/load.js';
import {
  type ArchivedBatch,
  deliveredDir,
  formatHeader,
  formatLine,
  indexName,
  packName,
  SEGMENT_LINES,
} from '../../src/producers/archive/archiveFiles.js';
import { segmentName } from '../../src/producers/spool/load.js';
import { encodeRecord } from '../../src/producers/spool/record.js';
import { SpoolState } from '../../src/producers/spool/state.js';
import { spoolDir } from '../../src/producers/spoolFiles.js';
import { listBatches } from '../../src/status/batches.js';
import type { BatchState, BatchStatus } from '../../src/status/batchReport.js';
import { Site, Writer } from '../e2e/site.js';
import { atEnd } from '../support/atEnd.js';
import { testCerts } from '../support/certs.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { FERRY, runFerry, start, until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { closer, listen } from '../support/servers.js';

const redis = await startTestRedis();
failOnLeaks();

interface Report {
  version: number;
  redis: { ok: boolean; durability: string | null; error: string | null };
  batches: BatchStatus[];
}

/** As the command does, without a process for each look. */
async function ask(cwd: string, pattern: string | null = null, state: BatchState | null = null) {
  const config = loadConfig(`${cwd}/ferry.yaml`);
  const listing = await listBatches(config, SILENT, { pattern, state });
  const batches: BatchStatus[] = [];
  for await (const batch of listing.batches()) batches.push(batch);
  return { redis: listing.redis, batches };
}

const SILENT = createLogger({ level: 'silent', format: 'json', color: false });

/** `foo@replica 1 archived`, for comparisons. */
function told({ batches }: Pick<Report, 'batches'>): string[] {
  return batches.map(({ route, sequence, state }) => `${route} ${sequence} ${state}`);
}

/** A destination that takes everything and never answers. */
async function silentPort(): Promise<number> {
  const { cert, key } = testCerts();
  const server = createServer({ cert, key }, (socket) => {
    socket.on('error', () => undefined).resume();
  });
  atEnd(closer(server));
  return listen(server);
}

describe('ferry batches', () => {
  it('says of every batch where it stands, from Redis, spool and archive together', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      redis: redis.url,
      destinations: {
        replica: { port },
        silent: { port: await silentPort(), more: `timeouts: {idle: 5m}` },
        dead: { port: await freePort() },
      },
      journals: [
        'name: solo, path: fifo/solo, to: replica, interval: 300ms',
        'name: foo, path: fifo/foo, to: [replica, silent], interval: 300ms, limits: {ahead: 2}',
        'name: bar, path: fifo/bar, to: dead, attempts: 1, interval: 300ms',
        'name: baz, path: fifo/baz, to: dead, interval: 10m', // one attempt, or it may be at another
      ],
    });
    const text = readFileSync(site.path('ferry.yaml'), 'utf8');
    // The silent one has a certificate of its own.
    await writeFile(
      site.path('ferry.yaml'),
      text.replace(/(silent: .*)ca: \.\/cert\.pem/, `$1ca: "${testCerts().caFile}"`),
    );
    const ferry = await site.start('run');
    const foo = new Writer(site.path('fifo/foo'));
    for (let commit = 1; commit <= 3; commit += 1) {
      await foo.commit();
      await site.arrived('foo', foo.written);
    }
    for (const name of ['solo', 'bar', 'baz']) await new Writer(site.path('fifo', name)).commit();
    const expected = [
      'bar@dead 1 blocked',
      'baz@dead 1 retrying',
      'foo@replica 1 delivered',
      'foo@replica 2 delivered',
      'foo@replica 3 delivered',
      'foo@silent 1 sending',
      'foo@silent 2 queued',
      'foo@silent 3 waiting',
      'solo@replica 1 archived',
    ];
    let report: Awaited<ReturnType<typeof ask>> | null = null;
    await until(
      'every batch is where it belongs',
      async () => {
        report = await ask(site.dir);
        return told(report).join() === expected.join();
      },
      60_000,
    ).catch(() => assert.deepEqual(report === null ? [] : told(report), expected));
    const json = await runFerry(['batches', '--json'], { cwd: site.dir });
    const { version, redis: seen, batches } = JSON.parse(json.stdout) as Report;
    assert.deepEqual(told({ batches }), expected);
    assert.deepEqual(
      { version, seen },
      { version: 1, seen: { ok: true, durability: 'always', error: null } },
    );
    const blocked = batches[0];
    assert.ok(blocked !== undefined);
    assert.equal(blocked.attempts, 1);
    assert.equal(blocked.lastErrorCode, 'CONNECTION_REFUSED');
    assert.match(String(blocked.lastError), /^CONNECTION_REFUSED: .*refuses connections/);
    assert.match(String(blocked.hint), /ferry replay bar@dead, or ferry skip bar@dead 1 --reason/);
    for (const { sha256, bytes, sealedAt, ageMs, stream } of batches) {
      assert.match(String(sha256), /^[0-9a-f]{64}$/);
      assert.match(String(stream), /^[0-9a-f]{32}$/);
      assert.ok(bytes > 200 && (ageMs ?? -1) >= 0 && !Number.isNaN(Date.parse(String(sealedAt))));
    }

    assert.deepEqual(told(await ask(site.dir, 'foo@silent', 'queued')), ['foo@silent 2 queued']);
    assert.deepEqual(told(await ask(site.dir, '*@dead')), expected.slice(0, 2));
    assert.deepEqual(
      told(await ask(site.dir, 'foo')),
      expected.slice(2, 8),
      'a journal: all its routes',
    );
    assert.deepEqual(told(await ask(site.dir, null, 'archived')), ['solo@replica 1 archived']);
    const table = await runFerry(['batches', 'bar'], { cwd: site.dir });
    assert.match(table.stdout, /^ROUTE +BATCH {2}STATE +BYTES {2}SHA-256 +AGE {2}TRIES$/m);
    assert.match(table.stdout, /^bar@dead +1 {2}blocked +\d+ B {2}[0-9a-f]{12} +\S+ +1$/m);
    assert.match(table.stdout, /^ {4}CONNECTION_REFUSED: .*\n {4}ferry replay bar@dead/m);

    // A host that knows Redis and has none of the spools.
    await mkdir(site.path('elsewhere'));
    await writeFile(
      site.path('elsewhere/ferry.yaml'),
      `redis: ${redis.url}\ndestinations: {silent: {host: localhost, url: a, key: ../key}}\n`,
    );
    const elsewhere = told(await ask(site.path('elsewhere')));
    assert.deepEqual(elsewhere, [
      ...['bar@dead 1 blocked', 'baz@dead 1 retrying'],
      ...['foo@silent 1 sending', 'foo@silent 2 queued'],
    ]);

    const skip = ['skip', 'bar@dead', '1', '--reason', 'a test'];
    assert.equal((await runFerry(skip, { cwd: site.dir })).code, 0);
    await until('it is given up', async () =>
      told(await ask(site.dir, 'bar')).includes('bar@dead 1 skipped'),
    );
    await ferry.kill('SIGTERM');
    await redis.stop();
    const alone = await ask(site.dir);
    assert.equal(alone.redis.ok, false);
    assert.deepEqual(told(alone), [
      'bar@dead 1 skipped',
      'baz@dead 1 waiting',
      ...['foo@replica 1 delivered', 'foo@replica 2 delivered', 'foo@replica 3 delivered'],
      ...['foo@silent 1 waiting', 'foo@silent 2 waiting', 'foo@silent 3 waiting'],
      'solo@replica 1 archived',
    ]);
    const said = await runFerry(['batches', 'baz'], { cwd: site.dir });
    assert.equal(said.code, 0);
    assert.match(said.stdout, /^Redis: not reachable, .*; this is what the spool knows\n\nROUTE/);
    await redis.start();
  });

  it('names what it does not know: a route, a state', async () => {
    const site = await Site.make();
    await site.configure({
      destinations: { replica: { port: 1 } },
      journals: ['name: foo, path: fifo/foo, to: replica'],
    });
    const route = await runFerry(['batches', 'bar'], { cwd: site.dir });
    assert.equal(route.code, 2);
    assert.match(route.stderr, /no route is named bar\nhint: ferry status lists them/);
    const state = await runFerry(['batches', '--state', 'lost'], { cwd: site.dir });
    assert.equal(state.code, 2);
    assert.match(state.stderr, /'lost' is invalid. Allowed choices are waiting, queued, sending/);
    assert.deepEqual(told(await ask(site.dir)), [], 'a route without batches is an empty list');
  });

  it('lists 100,000 batches of two routes in little memory, to a slow reader and to one that leaves', async () => {
    const site = await Site.make();
    await site.configure({
      destinations: { here: { port: 1 }, there: { port: 1 } },
      journals: ['name: foo, path: fifo/foo, to: [here, there]'],
    });
    const yaml = readFileSync(site.path('ferry.yaml'), 'utf8');
    await writeFile(
      site.path('ferry.yaml'),
      yaml.replace(/(there: .*?)\{journal\}\.r/, '$1other.r'),
    );
    await makeManyBatches(site.path('state'), 100_000);
    // Twice the output would not fit beside what the spool needs.
    const env = { NODE_OPTIONS: '--max-old-space-size=96' };
    const sh = (command: string): ReturnType<typeof start> =>
      start('sh', ['-c', command, process.execPath, FERRY], { cwd: site.dir, env });
    const all = sh(
      `"$0" "$1" batches --json | awk '/"waiting"/ { n++; last = $0 } END { print n; print last }'`,
    );
    await all.end(180_000);
    assert.match(all.stdout, /"route":"foo@there",.*"sequence":100000,"state":"waiting"/);
    assert.match(all.stdout, /^100000$/m, all.output);
    const first = sh('"$0" "$1" batches --state archived | sed -n "4p;5q"; echo "ended"');
    await first.end(180_000);
    assert.match(first.stdout, /^foo@here +1 {2}archived .*\nended\n$/);
    assert.equal(first.stderr, '');
  });
});

/** One route has confirmed all of them, and they are archived; the other has none. */
async function makeManyBatches(stateDir: string, count: number): Promise<void> {
  const state = new SpoolState();
  state.journal = 'foo';
  state.stream = 'ab'.repeat(16);
  for (const d of ['here', 'there']) state.apply({ t: 'route', d, after: 0 }, PLACE);
  const sha256 = '0123456789abcdef'.repeat(4);
  for (let seq = 1; seq <= count; seq += 1) {
    const seal = {
      t: 'seal',
      seq,
      bytes: 100,
      sha: sha256,
      at: 1e12 + seq,
      ino: 1,
      boot: 'b',
    } as const;
    state.apply(seal, PLACE);
  }
  state.apply({ t: 'ack', d: 'here', seq: count }, PLACE);
  const spool = spoolDir(stateDir, 'foo');
  await mkdir(spool, { recursive: true });
  await writeFile(`${spool}/${segmentName(1)}`, encodeRecord(state.checkpoint(), null, 0));
  const archive = deliveredDir(stateDir, 'foo');
  await mkdir(archive, { recursive: true });
  for (let first = 1; first <= count; first += SEGMENT_LINES) {
    const header = { v: 1 as const, before: (first - 1) * 100, count: first - 1, openedAtMs: 1e12 };
    let text = formatHeader(header);
    for (
      let sequence = first;
      sequence < first + SEGMENT_LINES && sequence <= count;
      sequence += 1
    ) {
      const line: ArchivedBatch = {
        sequence,
        stream: state.stream,
        bytes: 100,
        sha256,
        chain: '',
        sealedAtMs: 1e12 + sequence,
        archivedAtMs: 1e12 + sequence,
        location: { file: packName(first), offset: (sequence - first) * 100 },
        total: sequence * 100,
      };
      text += formatLine(line);
    }
    await writeFile(`${archive}/${indexName(first)}`, text);
  }
}

const PLACE = { file: segmentName(1), payloadOffset: 0 };
