#!/usr/bin/env node
/** Sets everything up and measures: `npm run bench -- [comparison ...]`. */
import { join } from 'node:path';
import { ensurePicoLisp, setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

const REPORT = join(ROOT, 'docs/benchmarks.md');

await main(() => {
  setup();
  ensurePicoLisp();
  const args = process.argv.slice(2);
  const isWhole = args.every((word) => word.startsWith('--')) && !args.includes('--quick');
  // A report of some of the comparisons would replace that of all.
  const write = isWhole && !args.includes('--write') ? ['--write', REPORT] : [];
  return runThrough(process.execPath, [join(ROOT, 'dist/bench/bench.js'), ...args, ...write]);
});
