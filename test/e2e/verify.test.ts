import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { Spool } from '../../src/producers/spool/spool.js';
import type { ReceivedProof, SentProof } from '../../src/verify/report.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, until } from '../support/process.js';
import { startTestRedis, type TestRedis } from '../support/redis.js';
import { ARRIVAL_MS, Site, Writer } from './site.js';

failOnLeaks();

/** Each commit is a batch. */
const FOO = 'name: foo, path: fifo/foo, interval: 100ms, flush: {maxBytes: 1}';
/** More than lies inside the spool's log: a file of its own. */
const LARGE_BYTES = 300_000;

/** With a Redis of its own, so that its loss concerns nobody else. */
async function makeSite(): Promise<{ site: Site; redis: TestRedis }> {
  return { site: await Site.make(), redis: await startTestRedis({ tcp: true }) };
}

async function verify<P>(site: Site, code: number, ...words: string[]): Promise<P> {
  const result = await runFerry(['verify', '--json', ...words], { cwd: site.dir });
  assert.equal(result.code, code, `${result.stdout}\n${result.stderr}`);
  return JSON.parse(result.stdout) as P;
}

const sent = (site: Site, code: number, ...words: string[]): Promise<SentProof> =>
  verify<SentProof>(site, code, ...words);

const received = (site: Site, code: number, ...words: string[]): Promise<ReceivedProof> =>
  verify<ReceivedProof>(site, code, '--received', 'received', ...words);

async function captured(writer: Writer, bytes = 200): Promise<void> {
  await writer.commit(bytes);
  await until('it is captured', () => statSync(writer.path).size === 0);
}

/** Both sides say the same, and each can be shown the other's line. */
async function agree(site: Site, destination = 'replica', app = 'foo.r'): Promise<SentProof> {
  const route = `foo@${destination}`;
  const confirmed = async () => {
    const spool = await Spool.readOnly(site.path('state/spool/foo'));
    return spool?.route(destination)?.acked === spool?.lastSequence;
  };
  await until('the spool knows that all is confirmed', confirmed, ARRIVAL_MS);
  const here = await sent(site, 0, route);
  assert.deepEqual([here.differences, here.unchecked, here.complete], [[], [], true]);
  const { line } = here.routes[0]?.chain ?? {};
  assert.ok(line);
  const there = await received(site, 0, app, '--expect', line);
  assert.deepEqual([there.differences, there.unchecked], [[], []]);
  const stream = there.apps[0]?.streams[0];
  assert.deepEqual(stream?.expected, { ahead: 0 });
  assert.equal(stream?.chain.line, line);
  const back = await sent(site, 0, route, '--expect', line);
  assert.deepEqual(back.routes[0]?.expected, { ahead: 0 });
  return here;
}

// Most of it is waiting for leases of the killed and the renamed.
describe('ferry verify', { concurrency: 6 }, () => {
  it('proves on both sides that what arrived is what was written, after a kill and a loss of Redis', async () => {
    const { site, redis } = await makeSite();
    const { port } = await site.startReceiver();
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port } },
      journals: [`${FOO}, to: replica`],
    });
    const writer = new Writer(site.path('fifo/foo'));
    const first = await site.start('run');
    for (let i = 0; i < 4; i += 1) await captured(writer, i === 2 ? LARGE_BYTES : 200);
    await first.kill('SIGKILL');
    await writer.commit();
    await site.start('run');
    await site.arrived('foo', writer.written);
    await redis.flushAll();
    await captured(writer);
    await site.arrived('foo', writer.written);
    const { routes, journals } = await agree(site);
    const [route] = routes;
    assert.equal(route?.captured.bytes, writer.written.length);
    assert.deepEqual(route?.confirmed, route?.captured);
    assert.equal(route?.redisAgrees, true);
    assert.equal(journals[0]?.chainHead, route?.chain.head, 'nothing was given up');
    const { stdout } = await runFerry(['verify'], { cwd: site.dir });
    assert.match(stdout, /captured = .* confirmed \+ 0 batches \(0 bytes\) waiting; Redis agrees/);
    assert.match(stdout, /\nPROVED: /);
  });

  it('chains what each route has confirmed: behind a skip, under a new name, and begun late', async () => {
    const { site, redis } = await makeSite();
    const port = await freePort();
    const writer = new Writer(site.path('fifo/foo'));
    const options = { redis: redis.tcpUrl, destinations: { old: { port } } };
    await site.configure({ ...options, journals: [`${FOO}, attempts: 1, to: old`] });
    let ferry = await site.start('run');
    await captured(writer);
    await ferry.line(/the route is blocked/);
    await captured(writer);
    await site.startReceiver(port);
    const skip = ['skip', 'foo', '1', '--reason', 'torn'];
    assert.equal((await runFerry(skip, { cwd: site.dir })).code, 0);
    const { chain } = (await agree(site, 'old')).routes[0] ?? {};
    assert.deepEqual([chain?.since, chain?.through], [2, 2], 'the first was given up');
    await ferry.kill('SIGTERM');
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { new: { port, more: 'was: old' }, late: { port, url: 'late/{journal}' } },
      journals: [`${FOO}, to: [new, late]`],
    });
    ferry = await site.start('run');
    for (let i = 0; i < 2; i += 1) await captured(writer);
    const renamed = (await agree(site, 'new')).routes[0];
    assert.deepEqual([renamed?.chain.since, renamed?.chain.through], [2, 4]);
    assert.equal(renamed?.skipped.batches, 1);
    const late = (await agree(site, 'late', 'late')).routes[0];
    assert.deepEqual([late?.chain.since, late?.chain.through], [3, 4]);
    assert.deepEqual(late?.captured, late?.confirmed);
  });

  it('counts a batch as confirmed that is retried between the word of its skip and its hearing of it', async () => {
    const { site, redis } = await makeSite();
    const port = await freePort();
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port } },
      journals: [`${FOO}, attempts: 1, to: replica`],
    });
    const writer = new Writer(site.path('fifo/foo'));
    const worker = await site.start('worker');
    const producer = await site.start('producer');
    await captured(writer);
    await worker.line(/the route is blocked/);
    await captured(writer);
    await producer.kill('SIGTERM');
    await site.startReceiver(port);
    const killed = await runFerry(['skip', 'foo', '1', '--reason', 'torn'], {
      cwd: site.dir,
      env: { FERRY_CRASH_AT: 'skip.recorded' },
    });
    assert.equal(killed.code, null);
    assert.equal((await runFerry(['replay', 'foo'], { cwd: site.dir })).code, 0);
    await until('the first is there', async () => (await site.received('foo')).length > 0);
    await worker.line(/"msg":"confirmed( again)?"/);
    const next = await site.start('producer');
    await next.line(/confirmed before it was given up/);
    await site.arrived('foo', writer.written);
    const { routes } = await agree(site);
    assert.deepEqual([routes[0]?.skipped.batches, routes[0]?.chain.since], [0, 1]);
    assert.deepEqual(routes[0]?.confirmed, { batches: 2, bytes: writer.written.length });
    const log = readFileSync(site.path('state/audit.log'), 'utf8');
    assert.match(log, /"event":"skip".*"confirmed":true/);
  });

  it('names a batch that went bad in the spool, which no receiver is made to take', async () => {
    const { site, redis } = await makeSite();
    const port = await freePort();
    await site.configure({
      redis: redis.tcpUrl,
      // As to a PicoLisp replica, which gets no digest.
      destinations: { replica: { port, more: 'identity: false' } },
      journals: [`${FOO}, attempts: 2, to: replica`],
    });
    const writer = new Writer(site.path('fifo/foo'));
    const ferry = await site.start('run');
    await captured(writer, LARGE_BYTES);
    await ferry.line(/the route is blocked/);
    const bad = writer.written.length;
    await captured(writer);
    const file = site.path('state/spool/foo/0000000001.batch');
    const content = readFileSync(file);
    content.writeUInt8(content.readUInt8(1_000) ^ 1, 1_000);
    writeFileSync(file, content);
    await site.startReceiver(port);
    await runFerry(['replay', 'foo'], { cwd: site.dir });
    const isBlocked = async () => {
      const { state, lastErrorCode } = await site.route('foo@replica');
      return state === 'blocked' && lastErrorCode === 'PAYLOAD_DAMAGED';
    };
    await until('it is blocked again', isBlocked, ARRIVAL_MS);
    const proof = await sent(site, 1);
    assert.deepEqual(
      proof.differences.map(({ code, routes, sequence }) => [code, routes, sequence]),
      [['BATCH_CHANGED', ['foo@replica'], 1]],
    );
    assert.equal((await site.received('foo')).length, 0);
    const skip = ['skip', 'foo', '1', '--reason', 'bad disk'];
    assert.equal((await runFerry(skip, { cwd: site.dir })).code, 0);
    await site.arrived('foo', writer.written.subarray(bad));
  });

  it('and the producer say it loudly when Redis has confirmed something else', async () => {
    const { site, redis } = await makeSite();
    const { port } = await site.startReceiver();
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port } },
      journals: [`${FOO}, to: replica`],
    });
    const writer = new Writer(site.path('fifo/foo'));
    const ferry = await site.start('run');
    for (let i = 0; i < 2; i += 1) await captured(writer);
    await agree(site);
    const client = new Redis(redis.tcpUrl);
    const key = '{ferry}:route:foo@replica';
    await client.hset(key, 'chain', `1:2:${'0'.repeat(64)}`);
    await captured(writer);
    await ferry.line(/CHAIN_DIFFERS/);
    const proof = await sent(site, 1);
    assert.deepEqual(
      proof.differences.map(({ code, routes, sequence }) => [code, routes, sequence]),
      [['CHAIN_DIFFERS', ['foo@replica'], 3]],
    );
    const log = readFileSync(site.path('state/audit.log'), 'utf8');
    assert.match(log, /"event":"chain-differs","route":"foo@replica"/);
    // The receiver shows that the spool is right; the next start goes on from it.
    const { line } = proof.routes[0]?.chain ?? {};
    await received(site, 0, '--expect', line ?? '');
    await ferry.kill('SIGTERM');
    await site.start('run');
    await captured(writer);
    await agree(site);
    // Of an older version: the field is not there, and nothing is claimed.
    await client.hdel(key, 'chain');
    await captured(writer);
    await site.arrived('foo', writer.written);
    const unknown = await sent(site, 0);
    assert.deepEqual([unknown.ok, unknown.complete], [true, false]);
    assert.match(unknown.unchecked[0]?.what ?? '', /no chain of the route/);
    client.disconnect();
  });

  it('finds no difference where there is none, while batches are on their way, Redis is lost and roles are killed', async () => {
    const { site, redis } = await makeSite();
    const { port } = await site.startReceiver();
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port }, backup: { port, url: 'backup/{journal}' } },
      journals: [`${FOO}, to: [replica, backup]`],
    });
    const writer = new Writer(site.path('fifo/foo'));
    let ferry = await site.start('run');
    let writing = true;
    const writes = (async () => {
      while (writing) await writer.commit(writer.written.length % 7 === 0 ? LARGE_BYTES : 300);
    })();
    for (const trouble of ['none', 'kill', 'flush', 'none']) {
      if (trouble === 'kill') {
        await ferry.kill('SIGKILL');
        ferry = await site.start('run');
      }
      if (trouble === 'flush') await redis.flushAll();
      const here = await sent(site, 0);
      assert.deepEqual(here.differences, []);
      const line = here.routes.find(({ route }) => route === 'foo@replica')?.chain.line;
      const words = line ? ['--expect', line] : [];
      assert.deepEqual((await received(site, 0, ...words)).differences, []);
    }
    writing = false;
    await writes;
    await site.arrived('foo', writer.written);
    await agree(site);
    await agree(site, 'backup', 'backup');
  });
});
