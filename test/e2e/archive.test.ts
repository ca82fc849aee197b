import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { CrashPoint } from '../../src/common/crashPoints.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { ARRIVAL_MS, Site, Writer } from './site.js';

failOnLeaks();

const POINTS: readonly CrashPoint[] = [
  'archive.indexed',
  'archive.kept',
  'archive.recorded',
  'archive.pruned',
];
/** More than lies inside the spool's log: a file of its own. */
const LARGE_BYTES = 300_000;
/** Enough to exceed the smaller limit. */
const ROUNDS = 6;

async function makeSite(archive: string): Promise<{ site: Site; writer: Writer }> {
  const site = await Site.make();
  const { port } = await site.startReceiver();
  await site.configure({
    archive,
    destinations: { replica: { port } },
    journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
  });
  return { site, writer: new Writer(site.path('fifo/foo')) };
}

function archived(site: Site): Buffer[] {
  const dir = site.path('state/archive/foo');
  return names(site).map((name) => {
    assert.equal(statSync(`${dir}/${name}`).mode & 0o777, 0o600);
    return readFileSync(`${dir}/${name}`);
  });
}

function names(site: Site): string[] {
  try {
    return readdirSync(site.path('state/archive/foo'))
      .filter((name) => name.endsWith('.batch'))
      .sort();
  } catch {
    return [];
  }
}

/** Commits small and large batches, each confirmed before the next. */
async function ship(site: Site, writer: Writer, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    await writer.commit(round % 2 === 0 ? 200 : LARGE_BYTES);
    await site.arrived('foo', writer.written);
  }
}

async function archiveHolds(site: Site, bytes: number): Promise<void> {
  const size = () => Buffer.concat(archived(site)).length;
  await until(`${bytes} bytes are in the archive`, () => size() === bytes, ARRIVAL_MS);
}

describe('the archive', () => {
  it('keeps every delivered batch, in order, and the spool lets go of its files', async () => {
    const { site, writer } = await makeSite('{keep: 1h, maxBytes: 1GiB}');
    await site.start('run');
    await ship(site, writer, 4);
    await archiveHolds(site, writer.written.length);
    assert.deepEqual(Buffer.concat(archived(site)), writer.written);
    const large = () =>
      readdirSync(site.path('state/spool/foo')).filter((name) => name.endsWith('.batch'));
    // The last confirmed one stays in the spool, for a repeat.
    await until('the spool is free', () => large().length <= 1, ARRIVAL_MS);
  });

  it('stays below its limit of bytes: the oldest go first', async () => {
    const { site, writer } = await makeSite('{keep: 1h, maxBytes: 301KiB}');
    await site.start('run');
    await ship(site, writer, 5);
    const newest = writer.written.subarray(-(LARGE_BYTES + 500));
    await until(
      'the first three are pruned, the last is kept',
      () => names(site).at(-1) === '0000000005.batch' && names(site)[0] === '0000000004.batch',
      ARRIVAL_MS,
    );
    assert.ok(newest.includes(Buffer.concat(archived(site))));
  });

  for (const point of POINTS) {
    it(`is whole after a kill at ${point}`, async () => {
      const pruned = point === 'archive.pruned';
      const { site, writer } = await makeSite(
        `{keep: 1h, maxBytes: ${pruned ? '301KiB' : '1GiB'}}`,
      );
      const doomed = await site.start('run', { env: { FERRY_CRASH_AT: point } });
      for (let round = 0; round < ROUNDS; round += 1) {
        await writer.commit(round % 2 === 0 ? 200 : LARGE_BYTES);
        const taken = () => doomed.isOver || statSync(writer.path).size === 0;
        await until('it is captured', taken, ARRIVAL_MS);
      }
      assert.deepEqual(await doomed.exit, { code: null, signal: 'SIGKILL' });
      await site.start('run');
      await ship(site, writer, 2);
      if (!pruned) return archiveHolds(site, writer.written.length);
      await until(
        'it is small',
        () => {
          const kept = Buffer.concat(archived(site));
          return kept.length <= 301 * 1024 && writer.written.subarray(-kept.length).equals(kept);
        },
        ARRIVAL_MS,
      );
    });
  }
});
