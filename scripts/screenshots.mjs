#!/usr/bin/env node
/** Makes the pictures of docs/dashboard.md anew: `npm run screenshots`. */
import { join } from 'node:path';
import { ensureChromium, setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

await main(() => {
  setup();
  if (!ensureChromium()) return 1;
  const program = join(ROOT, 'dist/test/dashboard/screenshots.js');
  return runThrough(process.execPath, [program, ...process.argv.slice(2)]);
});
