#!/usr/bin/env node
/** Makes small mistakes in the scripts in Redis and says which of them no test notices. */
import { join } from 'node:path';
import { setup } from './setup.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

await main(() => {
  setup();
  const program = join(ROOT, 'dist/test/queue/everyMutant.js');
  return runThrough(process.execPath, ['--test-reporter=spec', program, ...process.argv.slice(2)]);
});
