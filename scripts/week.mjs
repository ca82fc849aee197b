#!/usr/bin/env node
/** Sets everything up and lets destinations be dead for a week's attempts: `npm run week`. */
import { join } from 'node:path';
import { setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

await main(() => {
  setup();
  return runThrough(process.execPath, [join(ROOT, 'dist/week/week.js'), ...process.argv.slice(2)]);
});
