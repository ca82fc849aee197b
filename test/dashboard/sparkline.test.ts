import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sparkline } from '../../src/dashboard/sparkline.js';
import { Throughput } from '../../src/dashboard/throughput.js';
import type { RouteStatus, StatusReport } from '../../src/status/report.js';

const WINDOW_MS = 300_000;

function report(deliveredBytes: number): StatusReport {
  const route = { route: 'foo@replica', deliveredBytes } as RouteStatus;
  return { version: 1, redis: { ok: true, durability: null, error: null }, routes: [route] };
}

/** Where its bars stand, from left (0) to right (29), and how high. */
async function bars(throughput: Throughput): Promise<Map<number, number>> {
  const svg = String(await sparkline(throughput.of('foo@replica'), WINDOW_MS, 'of <foo>'));
  assert.match(svg, /aria-label="of &lt;foo&gt;"/);
  const found = svg.matchAll(/M([\d.]+) 28v-([\d.]+)/g);
  return new Map([...found].map(([, x, height]) => [Number(x) / 4, Number(height)]));
}

test('a burst is a bar where it happened, and moves to the left as time goes by', async () => {
  const throughput = new Throughput();
  throughput.record(report(0), 0);
  throughput.record(report(0), 5_000);
  throughput.record(report(1_000), 10_000);
  assert.deepEqual([...(await bars(throughput))], [[29, 28]]);
  for (let at = 12_000; at <= 110_000; at += 2_000) throughput.record(report(1_000), at);
  assert.deepEqual([...(await bars(throughput))], [[19, 28]]);
  for (let at = 112_000; at <= 320_000; at += 2_000) throughput.record(report(1_000), at);
  assert.deepEqual([...(await bars(throughput))], [], 'older than the window');
});

test('bars are as high as the rate, the highest one as high as the picture', async () => {
  const throughput = new Throughput();
  let bytes = 0;
  for (let at = 0; at <= 300_000; at += 5_000) {
    bytes += at > 150_000 ? 100 : 50;
    throughput.record(report(bytes), at);
  }
  const heights = await bars(throughput);
  assert.equal(heights.size, 30);
  assert.equal(heights.get(29), 28);
  assert.equal(heights.get(5), 14);
});

test('an idle route costs two samples, a busy one a minute’s worth of them', () => {
  const throughput = new Throughput();
  for (let at = 0; at <= WINDOW_MS; at += 2_000) throughput.record(report(7), at);
  assert.equal(throughput.of('foo@replica').length, 2);
  for (let at = 0; at <= WINDOW_MS; at += 2_000) throughput.record(report(at), WINDOW_MS + at);
  assert.ok(throughput.of('foo@replica').length <= 61);
  throughput.record({ ...report(0), routes: [] }, 3 * WINDOW_MS);
  assert.deepEqual(throughput.of('foo@replica'), [], 'a route that is gone is forgotten');
});
