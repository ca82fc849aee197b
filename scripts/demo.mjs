#!/usr/bin/env node
/** Sets everything up and ships a real journal before your eyes. */
import { join } from 'node:path';
import { setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

await main(() => {
  setup();
  return runThrough(process.execPath, [join(ROOT, 'dist/demo/demo.js'), ...process.argv.slice(2)]);
});
