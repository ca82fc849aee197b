import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { parse } from 'yaml';
import { announceBlob, Site, Writer } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, startFerry, type TestProcess, until } from '../support/process.js';

const OPS = new URL('../../../ops/', import.meta.url);

/** The names that are fixed; whoever renames one breaks the dashboards of its users. */
const FIXED = [
  'ferry_captured_batches_total',
  'ferry_captured_bytes_total',
  'ferry_delivered_batches_total',
  'ferry_delivered_bytes_total',
  'ferry_delivered_blobs_total',
  'ferry_attempts_failed_total',
  'ferry_route_pending_batches',
  'ferry_route_pending_bytes',
  'ferry_route_oldest_age_seconds',
  'ferry_route_blocked',
  'ferry_lock_hold_seconds',
  'ferry_capture_to_confirm_seconds',
  'ferry_spool_bytes',
];

async function portOf(child: TestProcess): Promise<number> {
  const line = await child.line(/metrics and health listen/);
  return Number(/"metrics":\{[^}]*"port":(\d+)/.exec(line)?.[1]);
}

async function get(port: number, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    headers: { connection: 'close' },
  });
  return { status: response.status, text: await response.text() };
}

/** The value of a series, undefined when there is none. */
function seriesValue(text: string, series: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

async function withMetrics(site: Site, port = 0): Promise<void> {
  await appendFile(site.path('ferry.yaml'), `metrics: {listen: "127.0.0.1:${port}"}\n`);
}

/** A receiver with a metrics port of its own. */
async function receiverOf(site: Site): Promise<{ port: number; metrics: number }> {
  const { process: first, port } = await site.startReceiver();
  await first.kill('SIGTERM');
  await appendFile(site.path('received.yaml'), 'metrics: {listen: "127.0.0.1:0"}\n');
  const text = await readFile(site.path('received.yaml'), 'utf8');
  await writeFile(site.path('received.yaml'), text.replace('127.0.0.1:0\n', `127.0.0.1:${port}\n`));
  const child = startFerry(['receiver', '-c', 'received.yaml', '--log-format', 'json'], {
    cwd: site.dir,
  });
  await child.line(/receiver listens/);
  return { port, metrics: await portOf(child) };
}

test('a sender and a receiver count what passes, and every name in ops/ is among their metrics', async () => {
  const site = await Site.make();
  const receiver = await receiverOf(site);
  await site.configure({
    destinations: { replica: { port: receiver.port }, dead: { port: 1 } },
    journals: ['name: foo, path: fifo/foo, blobs: blob/, attempts: 1, to: [replica, dead]'],
  });
  await withMetrics(site);
  const writer = new Writer(site.path('fifo', 'foo'));
  const sender = await site.start('run');
  const port = await portOf(sender);
  assert.deepEqual(await get(port, '/healthz'), { status: 200, text: 'ok\n' });
  await writer.commit();
  await site.arrived('foo', writer.written);
  // Behind the batch: that blocks the dead route, so its blob is never tried there.
  await announceBlob(site.path('blob'), '=1', 'x/y', Buffer.from('a blob'));
  let text = '';
  await until('all is counted', async () => {
    ({ text } = await get(port, '/metrics'));
    return (
      seriesValue(text, 'ferry_delivered_batches_total{route="foo@replica"}') === 1 &&
      seriesValue(text, 'ferry_delivered_blobs_total{route="foo@replica"}') === 1 &&
      seriesValue(text, 'ferry_route_pending_batches{route="foo@replica"}') === 0 &&
      seriesValue(text, 'ferry_route_blocked{route="foo@dead"}') === 1 &&
      // The route is blocked first, and its job fails after it.
      seriesValue(text, 'bullmq_job_count{queue="batches",state="failed"}') === 1
    );
  });
  const bytes = writer.written.length;
  assert.equal(seriesValue(text, 'ferry_captured_batches_total{journal="foo"}'), 1);
  assert.equal(seriesValue(text, 'ferry_captured_bytes_total{journal="foo"}'), bytes);
  assert.equal(seriesValue(text, 'ferry_delivered_bytes_total{route="foo@replica"}'), bytes);
  assert.equal(seriesValue(text, 'ferry_lock_hold_seconds_count{journal="foo"}'), 1);
  assert.equal(seriesValue(text, 'ferry_capture_to_confirm_seconds_count{route="foo@replica"}'), 1);
  assert.equal(
    seriesValue(text, 'ferry_attempts_failed_total{route="foo@dead",reason="CONNECTION_REFUSED"}'),
    1,
  );
  assert.equal(seriesValue(text, 'ferry_route_pending_batches{route="foo@dead"}'), 1);
  assert.equal(seriesValue(text, 'ferry_route_pending_bytes{route="foo@dead"}'), bytes);
  assert.equal(seriesValue(text, 'ferry_spool_waiting_bytes{journal="foo"}'), bytes);
  assert.ok((seriesValue(text, 'ferry_route_oldest_age_seconds{route="foo@dead"}') ?? 0) > 0);
  assert.ok((seriesValue(text, 'ferry_spool_bytes{journal="foo"}') ?? 0) >= bytes);
  assert.equal(seriesValue(text, 'ferry_redis_up'), 1);
  const received = (await get(receiver.metrics, '/metrics')).text;
  assert.equal(seriesValue(received, 'ferry_received_batches_total{app="foo.r"}'), 1);
  assert.equal(seriesValue(received, 'ferry_received_blobs_total{app="foo.r"}'), 1);
  assert.equal((await get(receiver.metrics, '/readyz')).status, 200);

  for (const shown of [text, received]) {
    assert.equal(shown.includes(site.keyText.trim()), false, 'a key is shown');
  }
  const known = new Set([...namesOf(text), ...namesOf(received)]);
  assert.deepEqual(
    FIXED.filter((name) => !known.has(name)),
    [],
  );
  for (const file of ['grafana-dashboard.json', 'prometheus-alerts.yaml']) {
    const used = metricsUsed(parse(await readFile(new URL(file, OPS), 'utf8')));
    assert.ok(used.size > 4, `${file} uses only ${[...used]}`);
    assert.deepEqual(
      [...used].filter((name) => !known.has(name)),
      [],
      file,
    );
  }
});

test('the process is ready while Redis answers, says why not while it hangs, and lives all the time', async () => {
  const site = await Site.make();
  await site.configure({
    destinations: { dead: { port: 1 } },
    journals: ['name: foo, path: fifo/foo, to: dead'],
  });
  await withMetrics(site);
  const sender = await site.start('run');
  const port = await portOf(sender);
  const ready = async (): Promise<boolean> => (await get(port, '/readyz')).status === 200;
  await until('ready', ready);
  const { pid } = JSON.parse(await readFile(site.path('state/redis/server.json'), 'utf8')) as {
    pid: number;
  };
  process.kill(pid, 'SIGSTOP');
  try {
    const { status, text } = await get(port, '/readyz');
    assert.equal(status, 503);
    assert.match(
      text,
      /"ready":false.*"name":"redis","ok":false,"message":"Redis does not answer"/,
    );
    assert.equal((await get(port, '/healthz')).status, 200);
    assert.equal(seriesValue((await get(port, '/metrics')).text, 'ferry_redis_up'), 0);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await until('ready again', ready);
  assert.equal((await get(port, '/elsewhere')).status, 404);
});

test('a port that is taken is an error with a hint, and nothing is started', async () => {
  const site = await Site.make();
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  try {
    await site.configure({
      destinations: { dead: { port: 1 } },
      journals: ['name: foo, path: fifo/foo, to: dead'],
    });
    await withMetrics(site, (other.address() as AddressInfo).port);
    const result = await runFerry(['run', '--log-format', 'json'], { cwd: site.dir });
    assert.equal(result.code, 2);
    assert.match(result.stdout, /METRICS_LISTEN_FAILED.*two roles on one host need two ports/);
    assert.doesNotMatch(result.stdout, /producer started/);
    assert.equal(existsSync(site.path('state')), false);
  } finally {
    other.close();
  }
});

/** Metrics by their `# TYPE` lines. */
function namesOf(text: string): string[] {
  return [...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1] ?? '');
}

/** Names in every `expr` of a document; of a histogram without its suffix. */
function metricsUsed(value: unknown, used = new Set<string>()): Set<string> {
  if (typeof value !== 'object' || value === null) return used;
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'expr' && typeof inner === 'string') {
      for (const [name] of inner.matchAll(/\b(?:ferry|bullmq|process|nodejs)_[a-z_]+/g)) {
        used.add(name.replace(/_seconds_(?:bucket|sum|count)$/, '_seconds'));
      }
    } else metricsUsed(inner, used);
  }
  return used;
}

failOnLeaks();
