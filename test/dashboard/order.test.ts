import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { announceBlob, Site, Writer } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { Client, portOf, withDashboard } from './client.js';

failOnLeaks();

const BATCHES = 8;
const ROUNDS = 3;

interface Job {
  id: string;
  data: unknown;
}

/** What the Bull dashboard shows of one state of a queue. */
async function jobsOf(client: Client, queue: string, status: string): Promise<Job[]> {
  const query = `activeQueue=${queue}&status=${status}&page=1&jobsPerPage=100`;
  const { text } = await client.ask(`/queues/api/queues?${query}`);
  const { queues } = JSON.parse(text) as { queues: { name: string; jobs: Job[] }[] };
  return queues.find(({ name }) => name === queue)?.jobs ?? [];
}

async function capture(writer: Writer): Promise<void> {
  await writer.commit(2_000);
  await until('it is captured', () => statSync(writer.path).size === 0);
}

/** Each by its own click; answers how many there were. "Clean all" spares those of the last 5 s. */
async function removeEach(client: Client, queue: string, status: string): Promise<number> {
  let removed = 0;
  for (const { id } of await jobsOf(client, queue, status)) {
    // One that is running by now is refused by BullMQ.
    const answer = await client.put(`${queue}/${encodeURIComponent(id)}/clean`);
    if (answer.status === 204) removed += 1;
  }
  return removed;
}

/** One of everything that can be clicked, in both queues, one by one and all at once. */
async function clickEverything(client: Client): Promise<void> {
  for (const queue of ['batches', 'blobs']) {
    for (const click of ['promote', 'retry/failed', 'retry/completed']) {
      assert.equal((await client.put(`${queue}/${click}`)).status, 200, `${queue} ${click}`);
    }
    for (const status of ['delayed', 'failed', 'completed']) {
      for (const { id } of (await jobsOf(client, queue, status)).slice(0, 2)) {
        const job = `${queue}/${encodeURIComponent(id)}`;
        // Some do not fit the job's state: refused by BullMQ.
        for (const click of ['promote', 'retry']) await client.put(`${job}/${click}`);
      }
      await removeEach(client, queue, status);
    }
    for (const status of ['delayed', 'failed', 'wait', 'active', 'completed']) {
      const clean = await client.put(`${queue}/clean/${status}`);
      assert.equal(clean.status, 200, `${queue} clean ${status}`);
    }
  }
}

test('promote all, retry all and remove, again and again while the destination is down, reorder, double and lose nothing', async () => {
  const site = await Site.make();
  const receiver = await site.startReceiver();
  await receiver.process.kill('SIGTERM');
  await mkdir(site.path('blob'));
  await site.configure({
    // Without identity the receiver stores whatever comes, twice or out of order too.
    destinations: { replica: { port: receiver.port, more: 'identity: false' } },
    journals: [
      'name: foo, path: fifo/foo, blobs: blob/, to: replica, interval: 100ms, attempts: 2, flush: {maxBytes: 1KiB}',
    ],
  });
  await withDashboard(site, []);
  const ferry = await site.start('run');
  const client = new Client(await portOf(ferry));
  const writer = new Writer(site.path('fifo/foo'));
  for (let count = 0; count < BATCHES; count += 1) await capture(writer);
  const blob = Buffer.from('a blob of its own');
  await announceBlob(site.path('blob'), '=1', 'x/y', blob);
  await until('the blob waits', async () => (await jobsOf(client, 'blobs', 'delayed')).length > 0);
  await ferry.line(/the route is blocked/);
  // The head has failed, and is no sleeper between two attempts.
  const asleep = async () =>
    (await jobsOf(client, 'batches', 'failed')).length === 1 &&
    (await jobsOf(client, 'batches', 'delayed')).length === BATCHES - 1;
  for (let times = 0; times < 3; times += 1) {
    await client.put('batches/promote');
    await client.put('batches/retry/failed');
    await until('the others sleep again', asleep);
  }
  assert.equal(await removeEach(client, 'batches', 'delayed'), BATCHES - 1);
  for (let round = 0; round < ROUNDS; round += 1) {
    await clickEverything(client);
    // Fresh ones come in between, and the head is tried by every click on "retry".
    await capture(writer);
    assert.match(await client.act('replay', { route: 'foo@replica' }), /tried again/);
  }
  assert.equal((await site.received('foo')).length, 0);

  await site.startReceiver(receiver.port);
  // Whatever the last click has left: blocked again, asleep or gone.
  await client.act('replay', { route: 'foo@replica' });
  const clicking = clickEverything(client);
  await site.arrived('foo', writer.written);
  await clicking;
  await client.put('batches/retry/completed');
  await client.put('blobs/retry/completed');
  await until('the blob arrived', async () => (await site.receivedBlob('foo', 'x/y')) !== null);
  await until('its link is gone', () => !existsSync(site.path('blob/=1')));
  assert.deepEqual(await site.receivedBlob('foo', 'x/y'), blob);

  // Byte for byte, each batch once: nothing is appended by what the last clicks started.
  let tail = 0;
  await until('all is confirmed', async () => {
    const route = await site.route('foo@replica');
    tail = route.tail;
    return route.state === 'idle';
  });
  const received = await site.received('foo');
  assert.equal(digest(received), digest(writer.written));
  const files = await readdir(site.path('received/foo.r/batches'));
  assert.equal(files.length, tail);
  const audit = readFileSync(site.path('state/audit.log'), 'utf8');
  assert.match(
    audit,
    /"event":"jobs","detail":\{"by":"dashboard","click":"remove","queue":"batches","job":"all","state":"delayed"\}/,
  );
  assert.match(
    audit,
    /"event":"jobs","route":"foo@replica","detail":\{"by":"dashboard","click":"remove"/,
  );
  assert.match(audit, /"event":"replay","route":"foo@replica","detail":\{"by":"dashboard"\}/);
});

test('what would go around the routes is refused, and changes nothing', async () => {
  const site = await Site.make();
  await site.configure({
    destinations: { replica: { port: 1 } },
    journals: ['name: foo, path: fifo/foo, to: replica, interval: 1h, flush: {maxBytes: 1KiB}'],
  });
  await withDashboard(site, []);
  const ferry = await site.start('run');
  const client = new Client(await portOf(ferry));
  const writer = new Writer(site.path('fifo/foo'));
  for (let count = 0; count < 3; count += 1) await capture(writer);
  const waiting = async () => (await jobsOf(client, 'batches', 'delayed')).length === 3;
  await until('the head waits for its retry, the others for the head', waiting);
  const before = await jobsOf(client, 'batches', 'delayed');
  const [job] = before;
  assert.ok(job !== undefined);
  const id = encodeURIComponent(job.id);
  const foreign = JSON.stringify({ jobData: { payload: { kind: 'file', path: '/etc/passwd' } } });
  const json = { 'content-type': 'application/json' };
  const ways: [string, string][] = [
    ['PATCH', `batches/${id}/update-data`],
    ['PATCH', `batches/${id}/delay`],
    ['PATCH', `batches/${id}/priority`],
    ['PATCH', 'blobs/any/update-data'],
    ['POST', 'blobs/add'],
    ['POST', 'batches/add'],
    ['PUT', 'batches/empty'],
    ['PUT', 'batches/obliterate'],
    ['PUT', 'batches/pause'],
    ['PUT', 'batches/concurrency'],
    ['PUT', 'batches/rate-limit'],
    ['PUT', 'pause'],
    ['DELETE', `batches/${id}`],
  ];
  for (const [method, path] of ways) {
    const answer = await client.ask(`/queues/api/queues/${path}`, {
      method,
      headers: json,
      body: foreign,
    });
    assert.equal(answer.status, 403, `${method} ${path}`);
  }
  assert.deepEqual(await jobsOf(client, 'batches', 'delayed'), before);
  assert.deepEqual(await jobsOf(client, 'blobs', 'latest'), []);
});

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
