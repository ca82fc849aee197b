#!/usr/bin/env node
/** Sets everything up and measures: `npm run bench -- [comparison ...]`. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensurePicoLisp, ensureShippers, setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

const REPORT = join(ROOT, 'docs/benchmarks.md');

/** As `bench/bench.ts` has them, which complains of what is wrong with the words. */
const OPTIONS = {
  rounds: { type: 'string' },
  quick: { type: 'boolean' },
  write: { type: 'string' },
};

await main(() => {
  setup();
  ensurePicoLisp();
  const args = process.argv.slice(2);
  const { values, positionals } = parseArgs({
    args,
    options: OPTIONS,
    allowPositionals: true,
    strict: false,
  });
  if (positionals.length === 0 || positionals.includes('peers')) ensureShippers();
  // A report of some of the comparisons would replace that of all.
  const isWhole = positionals.length === 0 && !values.quick && values.write === undefined;
  const write = isWhole ? ['--write', REPORT] : [];
  return runThrough(process.execPath, [join(ROOT, 'dist/bench/bench.js'), ...args, ...write]);
});
