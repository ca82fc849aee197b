#!/usr/bin/env node
/** Sets everything up and lets things go wrong: `npm run chaos -- --minutes 10 --seed 1`. */
import { join } from 'node:path';
import { ensureOpenssl, ensurePicoLisp, setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

await main(() => {
  setup();
  const args = process.argv.slice(2);
  if (args.some((word) => word.endsWith('picolisp'))) {
    ensureOpenssl();
    ensurePicoLisp();
  }
  return runThrough(process.execPath, [join(ROOT, 'dist/chaos/chaos.js'), ...args]);
});
