import assert from 'node:assert/strict';
import { once } from 'node:events';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { announceBlob, Site, Writer } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, until } from '../support/process.js';
import { NEEDED_RIGHTS, startTestRedis } from '../support/redis.js';
import { Client, PASSWORD, portOf, startDashboard, withDashboard } from './client.js';

const redis = await startTestRedis({ tcp: true });

failOnLeaks();

test('says that Redis is away, and goes on by itself when it is back; with the rights that the roles need, and no more', async () => {
  const site = await Site.make();
  await redis.command(
    'ACL',
    'SETUSER',
    'shipper',
    'on',
    '>geheim1',
    '~{ferry}:*',
    '&{ferry}:*',
    ...NEEDED_RIGHTS,
  );
  await site.configure({
    redis: `{url: "${redis.tcpUrl}", username: shipper, password: geheim1}`,
    destinations: { replica: { port: 1 } },
    journals: ['name: foo, path: fifo/foo, to: replica, interval: 100ms, attempts: 1'],
  });
  await withDashboard(site, []);
  await appendFile(site.path('ferry.yaml'), 'metrics: {listen: "127.0.0.1:0"}\n');
  const { child, port } = await startDashboard(site);
  const client = new Client(port);
  await child.line(/dashboard started/);
  const page = async () => (await client.ask('/')).text;
  await until('it is there', async () => /<dd class="good">ok/.test(await page()));
  assert.equal((await client.ask('/queues/api/queues')).status, 200);
  assert.equal((await client.ask('/queues/api/redis/stats')).status, 200);

  await redis.kill();
  const away = async () => /Redis is away\.[\s\S]*goes on by itself/.test(await page());
  await until('it says so', away);
  const answer = await client.ask('/queues/api/queues');
  assert.deepEqual([answer.status, /Redis is away/.test(answer.text)], [503, true]);
  assert.equal((await client.put('batches/promote')).status, 503);
  assert.match(await client.act('pause', { route: 'foo@replica' }), /REDIS_NOT_RUNNING/);
  const metrics = /"port":(\d+)/.exec(await child.line(/metrics and health listen/))?.[1];
  const ready = async () => (await fetch(`http://127.0.0.1:${metrics}/readyz`, CLOSE)).json();
  const checks = [
    { name: 'redis', ok: false, message: 'Redis cannot be reached' },
    { name: 'dashboard', ok: true, message: 'listens' },
  ];
  assert.deepEqual(await ready(), { version: 1, ready: false, checks });

  await redis.start();
  await redis.command(
    'ACL',
    'SETUSER',
    'shipper',
    'on',
    '>geheim1',
    '~{ferry}:*',
    '&{ferry}:*',
    ...NEEDED_RIGHTS,
  );
  await until('it is back', async () => /<dd class="good">ok/.test(await page()));
  const board = async () => (await client.ask('/queues/api/queues')).status === 200;
  await until('the queues are back', board);
  assert.deepEqual(await child.kill('SIGTERM', 10_000), { code: 0, signal: null });
});

test('a dashboard alone works on the routes of another process, and ends within 10 s though Redis hangs', async () => {
  await redis.flushAll();
  const site = await Site.make();
  const receiver = await site.startReceiver();
  await receiver.process.kill('SIGTERM');
  await site.configure({
    redis: redis.tcpUrl,
    destinations: { replica: { port: receiver.port } },
    journals: ['name: foo, path: fifo/foo, to: replica, interval: 100ms, attempts: 1'],
  });
  await withDashboard(site, []);
  const producer = await site.start('producer');
  const worker = await site.start('worker');
  const { child, port } = await startDashboard(site);
  const client = new Client(port);
  const writer = new Writer(site.path('fifo/foo'));
  await writer.commit();
  await worker.line(/the route is blocked/);
  await site.startReceiver(receiver.port);
  // What "retry" does in the Bull dashboard is what `replay` does.
  const failed = '/queues/api/queues?activeQueue=batches&status=failed';
  let id = '';
  await until('its job failed', async () => {
    id = /"id":"(foo@replica~[^"]+)"/.exec((await client.ask(failed)).text)?.[1] ?? '';
    return id !== '';
  });
  assert.equal((await client.put(`batches/${encodeURIComponent(id)}/retry`)).status, 204);
  await site.arrived('foo', writer.written);
  assert.match(await client.act('pause', { route: 'foo@replica' }), /foo@replica: paused/);
  assert.match(await client.act('resume', { route: 'foo@replica' }), /foo@replica: resumed/);
  for (const role of [producer, worker]) await role.kill('SIGTERM');

  redis.pause();
  try {
    const looking = client.ask('/queues/api/queues').catch(() => null);
    assert.deepEqual(await child.kill('SIGTERM', 10_000), { code: 0, signal: null });
    await looking;
  } finally {
    redis.resume();
  }
});

test('an orphaned route is dropped by a click, also where no producer runs', async () => {
  await redis.flushAll();
  const site = await Site.make();
  const configure = async (to: string): Promise<void> => {
    await site.configure({
      redis: redis.tcpUrl,
      destinations: { replica: { port: 1 }, backup: { port: 2 } },
      journals: [`name: foo, path: fifo/foo, to: [${to}], interval: 1h`],
    });
    await withDashboard(site, []);
  };
  await configure('replica, backup');
  const producer = await site.start('producer');
  await new Writer(site.path('fifo/foo')).commit();
  const known = async () =>
    (await site.status()).routes.filter(({ tail }) => tail === 1).length === 2;
  await until('both routes have the batch', known);
  await producer.kill('SIGTERM');
  await configure('replica');
  const client = new Client((await startDashboard(site)).port);
  const there = async () => /<dd class="good">ok/.test((await client.ask('/')).text);
  await until('Redis is there', there);
  assert.match((await client.ask('/')).text, /Drop all that waits for foo@backup/);
  const page = await client.act('skip', {
    route: 'foo@backup',
    sequence: 'all',
    reason: 'machine is gone',
  });
  assert.match(page, /foo@backup: dropped, 1 batches \(\d+ bytes\) given up/);
  assert.doesNotMatch(page, /id="row-foo%40backup"/);
});

test('a port that is taken is said, stops no shipping, and is taken when it is free', async () => {
  await redis.flushAll();
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const site = await Site.make();
  const receiver = await site.startReceiver();
  await site.configure({
    redis: redis.tcpUrl,
    destinations: { replica: { port: receiver.port } },
    journals: ['name: foo, path: fifo/foo, to: replica'],
  });
  await withDashboard(site, [], port);
  const alone = await runFerry(['dashboard'], { cwd: site.dir });
  assert.equal(alone.code, 2);
  assert.match(alone.stdout, /DASHBOARD_LISTEN_FAILED[\s\S]*choose a free port/);
  const ferry = await site.start('run');
  const line = await ferry.line(/no dashboard for now/);
  assert.match(line, /"level":"error".*DASHBOARD_LISTEN_FAILED.*EADDRINUSE/);
  const writer = new Writer(site.path('fifo/foo'));
  await writer.commit();
  await site.arrived('foo', writer.written);
  await new Promise((resolve) => other.close(resolve));
  assert.equal(await portOf(ferry), port);
  assert.equal((await new Client(port).ask('/')).status, 200);
  assert.deepEqual(await ferry.kill('SIGTERM'), { code: 0, signal: null });
});

test('a password that is not there starts nothing', async () => {
  const site = await Site.make();
  await site.configure({
    redis: redis.tcpUrl,
    destinations: { replica: { port: 1 } },
    journals: ['name: foo, path: fifo/foo, to: replica'],
  });
  await withDashboard(site, ['name: ops, password: {env: FERRY_NO_SUCH_VARIABLE}']);
  const result = await runFerry(['run'], { cwd: site.dir });
  assert.equal(result.code, 2);
  assert.match(result.stderr, /password for the dashboard's ops[\s\S]*hint: .*--hash-password/);
  assert.equal(result.stdout, '');
  assert.equal((await runFerry(['status'], { cwd: site.dir })).code, 0, 'others need it not');
});

test('shows no key, no payload and no password', async () => {
  await redis.flushAll();
  const site = await Site.make();
  await writeFile(site.path('secret'), PASSWORD);
  const marks = [
    'PAYLOAD-OF-A-BATCH',
    'PAYLOAD-OF-A-BLOB',
    site.keyText.trim(),
    PASSWORD,
    'geheim2',
  ];
  await redis.command('ACL', 'SETUSER', 'named', 'on', '>geheim2', '~*', '&*', '+@all');
  await site.configure({
    redis: `{url: "redis://named:geheim2@127.0.0.1:${redis.port}"}`,
    payloads: 'redis',
    destinations: { replica: { port: 1 }, text: { port: 2 } },
    journals: [
      'name: foo, path: fifo/foo, blobs: blob/, to: [replica, text], interval: 100ms, attempts: 1',
    ],
  });
  await withDashboard(site, ['name: ops, password: {file: secret}']);
  await writeFile(site.path('fifo/foo'), 'PAYLOAD-OF-A-BATCH');
  await announceBlob(site.path('blob'), '=1', 'x/y', Buffer.from('PAYLOAD-OF-A-BLOB'));
  const ferry = await site.start('run');
  const client = new Client(await portOf(ferry));
  await client.login('ops');
  const list = '/queues/api/queues?activeQueue=batches&status=failed';
  let ids: string[] = [];
  await until('both routes are blocked', async () => {
    const { text } = await client.ask(list);
    ids = [...text.matchAll(/"id":"([^"]+)"/g)].map(([, id]) => id ?? '');
    return ids.length === 2;
  });
  const paths = [
    '/',
    '/queues',
    list,
    '/queues/api/redis/stats',
    '/queues/api/queues?activeQueue=blobs',
  ];
  for (const id of ids) {
    const job = `/queues/api/queues/batches/${encodeURIComponent(id)}`;
    paths.push(job, `${job}/logs`, `${job}/flow`);
  }
  let shown = '';
  for (const path of paths) {
    const answer = await client.ask(path);
    assert.equal(answer.status, 200, path);
    shown += answer.text;
  }
  assert.match(shown, /CONNECTION_REFUSED/);
  shown += await client.act('pause', { route: 'foo@*' });
  shown += ferry.stdout + ferry.stderr + (await readFile(site.path('state/audit.log'), 'utf8'));
  for (const mark of marks) assert.ok(!shown.includes(mark), `it shows ${mark}`);
});

const CLOSE = { headers: { connection: 'close' } };
