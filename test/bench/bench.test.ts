import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COMPARISONS } from '../../bench/comparisons/index.js';
import {
  atLeast,
  atMost,
  type Measured,
  median,
  medianRatio,
  quantile,
} from '../../bench/harness/comparison.js';
import { report } from '../../bench/harness/report.js';
import { failOnLeaks } from '../support/leaks.js';
import { requirePicolisp } from '../support/picolisp.js';
import { start } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const BENCH = fileURLToPath(new URL('../../bench/bench.js', import.meta.url));
const DEADLINE_MS = 180_000;

failOnLeaks();

describe('a comparison', () => {
  it('runs through, says whether its targets are met, and is in the report', async () => {
    requirePicolisp();
    const file = join(tempDir(), 'report.md');
    const run = start(process.execPath, [BENCH, 'latency', '--quick', '--write', file]);
    const exit = await run.end(DEADLINE_MS);
    assert.deepEqual(exit, { code: 0, signal: null }, run.output);
    assert.match(run.stdout, /^(met|NOT met): commit to `T`, p50: [\d.]+ ms, wanted <= 8 ms$/m);
    assert.match(run.stdout, /^latency +1 +\d+\.\d$/m, 'how long it took');
    const page = readFileSync(file, 'utf8');
    assert.match(page, /\| processors \| \d+ x \S/);
    assert.match(page, /\| ours \| [\d.]+ \| [\d.]+ \| [\d.]+ \|\n\| bin\/ssl, each 1 s \| \d/);
  });

  it('has a name of its own; an unknown one is a wrong word', async () => {
    assert.equal(new Set(COMPARISONS.map(({ name }) => name)).size, COMPARISONS.length);
    const exit = await start(process.execPath, [BENCH, 'nonsense']).end(DEADLINE_MS);
    assert.deepEqual(exit, { code: 2, signal: null });
  });

  it('that fails takes nothing from the others in the report', () => {
    const [first, second] = COMPARISONS;
    assert.ok(first !== undefined && second !== undefined);
    const table = { heads: ['', 'ms'], rows: [['ours', '7']] };
    const verdicts = [atMost('one', 7, 8, ' ms'), atLeast('other', 7, 8, ' ms')];
    const done: Measured[] = [
      { comparison: first, rounds: 3, seconds: 60, outcome: { tables: [table], verdicts } },
      { comparison: second, rounds: 1, seconds: 30, failed: 'no room' },
    ];
    const page = report([['Node.js', 'v1']], done);
    assert.match(page, /\| Node\.js \| v1 \|/);
    assert.match(
      page,
      /\| one \| <= 8 ms \| 7 ms \| met \|\n\| other \| >= 8 ms \| 7 ms \| \*\*NOT/,
    );
    assert.match(page, /\| ours \| 7 \|/);
    assert.match(page, /\*\*Not measured\*\*: no room/);
    assert.match(page, /\| together \| {2}\| 1\.5 \|/);
  });
});

describe('figures over several rounds', () => {
  it('are medians, and ratios within each round', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 2, 3]), 2.5);
    assert.equal(quantile([10, 20, 30], 0.75), 25);
    const of = (...values: number[]) => values.map((x) => ({ x }));
    assert.equal(medianRatio(of(2, 40, 9), of(1, 10, 3), 'x'), 3);
  });
});
