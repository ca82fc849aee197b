import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { CrashPoint } from '../../src/common/crashPoints.js';
import { archivedBatches } from '../../src/producers/archive/archiveReader.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { ARRIVAL_MS, Site, Writer } from './site.js';

failOnLeaks();

const POINTS: readonly CrashPoint[] = [
  'archive.kept',
  'archive.indexed',
  'archive.recorded',
  'archive.pruned',
];
/** More than lies inside the spool's log: a file of its own. */
const LARGE_BYTES = 300_000;
const LIMIT_BYTES = 301 * 1024;
/** Enough to exceed the smaller limit. */
const ROUNDS = 6;

async function makeSite(
  archive?: string,
  destinations = 1,
): Promise<{ site: Site; writer: Writer; port: number }> {
  const site = await Site.make();
  const { port } = await site.startReceiver();
  await site.configure({
    ...(archive === undefined ? {} : { archive }),
    destinations: {
      replica: { port },
      // Nobody listens there.
      ...(destinations > 1 ? { other: { port: 1, more: 'timeouts: {connect: 1s}' } } : {}),
    },
    journals: [
      `name: foo, path: fifo/foo, to: ${destinations > 1 ? '[replica, other]' : 'replica'}, interval: 200ms`,
    ],
  });
  return { site, writer: new Writer(site.path('fifo/foo')), port };
}

function delivered(site: Site): string {
  return site.path('state/archive/foo/delivered');
}

/** What the archive holds, and that its numbers are dense. */
async function archived(site: Site): Promise<{ from: number; to: number; content: Buffer }> {
  const content: Buffer[] = [];
  let from = 0;
  let to = 0;
  for await (const batch of archivedBatches(delivered(site), 1, Number.MAX_SAFE_INTEGER)) {
    if (from === 0) from = batch.sequence;
    else assert.equal(batch.sequence, to + 1);
    to = batch.sequence;
    const { file, offset } = batch.location;
    const whole = readFileSync(`${delivered(site)}/${file}`);
    content.push(whole.subarray(offset, offset + batch.bytes));
  }
  return { from, to, content: Buffer.concat(content) };
}

/** Commits small and large batches, each confirmed before the next. */
async function ship(site: Site, writer: Writer, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    await writer.commit(round % 2 === 0 ? 200 : LARGE_BYTES);
    await site.arrived('foo', writer.written);
  }
}

async function archiveIs(site: Site, written: Buffer): Promise<void> {
  // A file may be pruned while it is read.
  const size = () =>
    archived(site).then(
      ({ content }) => content.length,
      () => -1,
    );
  await until(`${written.length} bytes`, async () => (await size()) === written.length, ARRIVAL_MS);
  assert.deepEqual((await archived(site)).content, written);
}

function spooled(site: Site): string[] {
  return readdirSync(site.path('state/spool/foo')).filter((name) => name.endsWith('.batch'));
}

describe('the archive', () => {
  it('keeps every delivered batch by default, the last one of an idle journal too', async () => {
    const { site, writer } = await makeSite();
    await site.start('run');
    await ship(site, writer, 4);
    await archiveIs(site, writer.written);
    // The last confirmed one stays in the spool, for a repeat: it is the same file.
    await until('the spool is free', () => spooled(site).length <= 1, ARRIVAL_MS);
    const [last = ''] = spooled(site);
    const kept = statSync(`${delivered(site)}/${last}`);
    assert.equal(kept.ino, statSync(site.path('state/spool/foo', last)).ino);
    for (const name of readdirSync(delivered(site))) {
      assert.equal(statSync(`${delivered(site)}/${name}`).mode & 0o777, 0o600);
    }
    const route = await site.route('foo@replica');
    assert.equal(route.archivedFrom, 1);
    assert.equal(route.archivedBytes, writer.written.length);
  });

  it('gets a batch when the last of its routes has confirmed it, and goes on after a restart', async () => {
    const { site, writer, port } = await makeSite('{keep: 1h}', 2);
    const first = await site.start('run');
    await ship(site, writer, 3);
    assert.equal(existsSync(delivered(site)), false);
    await first.kill('SIGTERM');
    await site.configure({
      archive: '{keep: 1h}',
      destinations: { replica: { port }, other: { port, url: 'other.r/!replica' } },
      journals: ['name: foo, path: fifo/foo, to: [replica, other], interval: 200ms'],
    });
    await site.start('run');
    await archiveIs(site, writer.written);
    await ship(site, writer, 2);
    await archiveIs(site, writer.written);
  });

  it('is none with 0, and the spool frees what is confirmed', async () => {
    const { site, writer } = await makeSite('0');
    await site.start('run');
    await ship(site, writer, 4);
    await until('the spool is free', () => spooled(site).length <= 1, ARRIVAL_MS);
    assert.equal(existsSync(site.path('state/archive')), false);
    assert.equal((await site.route('foo@replica')).archivedFrom, null);
  });

  for (const point of POINTS) {
    it(`is whole after a kill at ${point}`, async () => {
      const pruned = point === 'archive.pruned';
      const { site, writer } = await makeSite(pruned ? `{maxBytes: ${LIMIT_BYTES}}` : undefined);
      const doomed = await site.start('run', { env: { FERRY_CRASH_AT: point } });
      for (let round = 0; round < ROUNDS && !doomed.isOver; round += 1) {
        await writer.commit(round % 2 === 0 ? 200 : LARGE_BYTES);
        const taken = () => doomed.isOver || statSync(writer.path).size === 0;
        await until('it is captured', taken, ARRIVAL_MS);
      }
      assert.deepEqual(await doomed.exit, { code: null, signal: 'SIGKILL' });
      await site.start('run');
      await ship(site, writer, 2);
      if (!pruned) return archiveIs(site, writer.written);
      await until(
        'it is small, and reaches the end',
        async () => {
          const { content } = await archived(site).catch(() => ({ content: Buffer.alloc(0) }));
          return (
            content.length > LARGE_BYTES &&
            content.length <= LIMIT_BYTES &&
            writer.written.subarray(-content.length).equals(content)
          );
        },
        ARRIVAL_MS,
      );
    });
  }
});
