import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BlobsDue, BlobWindow, blobsDue } from '../../src/producers/blobWindow.js';
import type { PendingBlob } from '../../src/producers/spool/types.js';
import type { BlobStates } from '../../src/queue/routeState.js';

const blob = (n: number, version = n): PendingBlob => ({
  link: `=${n}`,
  text: `${n}`,
  version,
  afterSequence: 0,
  confirmedBy: [],
});

const sent = { inode: 1, bytes: 1, mtimeMs: 1, crc32: null };

/** Of routes that have confirmed these versions, by link. */
function statesOf(confirmed: Record<string, Record<string, number>>): Map<string, BlobStates> {
  return new Map(
    Object.entries(confirmed).map(([to, versions]) => [
      to,
      {
        failing: 0,
        confirmed: new Map(
          Object.entries(versions).map(([link, version]) => [link, { version, sent }]),
        ),
      },
    ]),
  );
}

/** Pending blobs that count how far they were looked at. */
function* counted(blobs: readonly PendingBlob[], seen: { count: number }): Iterable<PendingBlob> {
  for (const one of blobs) {
    seen.count += 1;
    yield one;
  }
}

function look(
  blobs: Iterable<PendingBlob>,
  windows: Record<string, BlobWindow>,
  states: Map<string, BlobStates>,
  orphans: readonly string[] = [],
): BlobsDue {
  const all = new Map(Object.entries(windows));
  return blobsDue(blobs, [...all.keys(), ...orphans], all, states, ({ link }) => link);
}

const links = (pairs: readonly [PendingBlob, string][]): string[] =>
  pairs.map(([{ link }, to]) => `${link} ${to}`);

function many(from: number, to: number): PendingBlob[] {
  return Array.from({ length: to - from + 1 }, (_, n) => blob(from + n));
}

test('a window holds a thousand blobs, and knows of each which version', () => {
  const window = new BlobWindow();
  assert.equal(window.room(0), 1_000);
  for (let n = 1; n <= 1_000; n += 1) window.add(blob(n));
  assert.equal(window.room(0), 0);
  assert.ok(window.has(blob(7)));
  assert.ok(!window.has(blob(7, 1_001)), 'made again, it is another one');
  assert.ok(window.hasLink(blob(7, 1_001)));
  window.add(blob(7, 1_001));
  assert.equal(window.size, 1_000);
  window.delete(blob(7, 1_001));
  assert.equal(window.room(0), 1);
  window.clear();
  assert.equal(window.room(0), 1_000);
});

test('those that fail keep nobody out, up to a bound', () => {
  const window = new BlobWindow();
  for (let n = 1; n <= 1_000; n += 1) window.add(blob(n));
  assert.equal(window.room(300), 300);
  assert.equal(window.room(2_000), 1_000, 'others have failed, too, of a former process');
  for (let n = 1_001; n <= 10_000; n += 1) window.add(blob(n));
  assert.equal(window.room(10_000), 0);
});

test('the oldest thousand go first, and no more is looked at than that takes', () => {
  const a = new BlobWindow();
  const seen = { count: 0 };
  const waiting = many(1, 5_000);
  const first = look(counted(waiting, seen), { a }, statesOf({}));
  assert.equal(first.unfed.length, 1_000);
  assert.equal(seen.count, 1_001);
  for (const [one] of first.unfed) a.add(one);
  const states = statesOf({ a: { '=3': 3, '=9': 9 } });
  const next = look(counted(waiting, { count: 0 }), { a }, states);
  assert.deepEqual(links(next.confirmed), ['=3 a', '=9 a']);
  assert.deepEqual(links(next.unfed), ['=1001 a', '=1002 a'], 'their places are free at once');
  assert.deepEqual(
    next.complete.map(({ link }) => link),
    ['=3', '=9'],
  );
});

test('what a former process handed over and was confirmed is not handed over again', () => {
  const due = look(many(1, 3), { a: new BlobWindow() }, statesOf({ a: { '=1': 1 } }));
  assert.deepEqual(links(due.confirmed), ['=1 a']);
  assert.deepEqual(links(due.unfed), ['=2 a', '=3 a']);
});

test('a blob that is made again keeps the place of its version before, in a full window too', () => {
  const a = new BlobWindow();
  for (const one of many(1, 1_000)) a.add(one);
  const again = many(1, 1_000).map((one, n) => ({ ...one, version: 2_000 + n }));
  const due = look([...again, blob(1_001)], { a }, statesOf({ a: { '=1': 1 } }));
  assert.deepEqual(due.confirmed, [], 'only its old version was');
  assert.deepEqual(
    due.unfed.map(([{ version }]) => version),
    again.map(({ version }) => version),
  );
  for (const [one] of due.unfed) a.add(one);
  assert.equal(a.size, 1_000);
});

test('a route whose destination is away keeps the other one from nothing', () => {
  const away = new BlobWindow();
  const there = new BlobWindow();
  for (const one of many(1, 1_000)) away.add(one);
  const waiting = many(1, 2_500).map((one, n) => ({
    ...one,
    confirmedBy: n < 2_000 ? ['there'] : [],
  }));
  const due = look(waiting, { away, there }, statesOf({ there: { '=2001': 2_001 } }));
  assert.deepEqual(links(due.confirmed), ['=2001 there']);
  assert.equal(due.unfed.length, 499);
  assert.ok(due.unfed.every(([, to]) => to === 'there'));
  assert.deepEqual(due.complete, []);
});

test('what waits only for a route that left the configuration is not handed over', () => {
  const a = new BlobWindow();
  const waiting = [
    { ...blob(1), confirmedBy: ['a'] },
    { ...blob(2), confirmedBy: ['a', 'gone'] },
  ];
  const due = look(waiting, { a }, statesOf({}), ['gone']);
  assert.deepEqual(due.unfed, []);
  assert.deepEqual(
    due.complete.map(({ link }) => link),
    ['=2'],
  );
});
