import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Sample } from '../../week/gauge.js';
import { judgeEnd, judgeSamples } from '../../week/judge.js';
import { failOnLeaks } from '../support/leaks.js';
import { start } from '../support/process.js';

const WEEK = fileURLToPath(new URL('../../week/week.js', import.meta.url));
const DEADLINE_MS = 180_000;
const MIB = 1024 * 1024;
const OPTIONS = { attempts: 1_000, journals: 2, intervalMs: 5, spoolBytes: MIB };
const QUIET: Sample = {
  attempts: 0,
  redisBytes: 3 * MIB,
  redisKeys: 100,
  aofBytes: 64 * MIB,
  waiting: 0,
  delayed: 32,
  completed: 100,
  failed: 0,
  events: 1_000,
  producerBytes: 100 * MIB,
  workerBytes: 100 * MIB,
  spoolBytes: MIB,
};

failOnLeaks();

/** A week in which something grows by so much per attempt. */
function week(grows: Partial<Sample>): Sample[] {
  return Array.from({ length: 100 }, (_, n) => {
    const attempts = (n / 100) * OPTIONS.attempts;
    const grown = Object.entries(grows).map(([what, by]) => [
      what,
      QUIET[what as keyof Sample] + by * attempts,
    ]);
    return { ...QUIET, ...Object.fromEntries(grown), attempts };
  });
}

describe('the judge of a week', () => {
  it('is content with one in which nothing grows', () => {
    assert.deepEqual(judgeSamples(week({}), OPTIONS), []);
    assert.deepEqual(judgeEnd(QUIET, { ...QUIET, delayed: 0 }, OPTIONS), []);
  });

  const leaks: Partial<Sample>[] = [
    { redisBytes: 10_000 },
    { redisKeys: 2 },
    { aofBytes: MIB },
    { delayed: 1 },
    { events: 1 },
    { failed: 0.01 },
    { producerBytes: 100_000 },
    { workerBytes: 100_000 },
    { spoolBytes: 20_000 },
  ];
  for (const leak of leaks) {
    it(`sees ${Object.keys(leak)} grow`, () => {
      assert.equal(judgeSamples(week(leak), OPTIONS).length, 1);
    });
  }

  it('sees what is left at the end', () => {
    assert.equal(judgeEnd(QUIET, { ...QUIET, spoolBytes: 9 * MIB }, OPTIONS).length, 2);
  });
});

describe('a destination that is dead for long', () => {
  it('costs a bounded amount, delays nobody while the spool has room, and gets everything afterwards', async () => {
    const args = ['--attempts', '250', '--journals', '2', '--spool', '128'];
    const run = start(process.execPath, [WEEK, ...args]);
    const exit = await run.end(DEADLINE_MS);
    assert.deepEqual(exit, { code: 0, signal: null }, run.output);
    assert.match(run.stdout, /attempts=\d+ journals=2 records=[1-9]\d* bytes=[1-9]\d* OK\n$/);
  });
});
