#!/usr/bin/env node
/** Sets everything up and lays siege to a receiver: `npm run siege -- --seconds 120`. */
import { join } from 'node:path';
import { ensurePicoLisp, setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

await main(() => {
  setup();
  ensurePicoLisp();
  return runThrough(process.execPath, [
    join(ROOT, 'dist/siege/siege.js'),
    ...process.argv.slice(2),
  ]);
});
