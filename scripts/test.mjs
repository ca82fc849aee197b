#!/usr/bin/env node
/**
 * Sets everything up and runs the tests. Arguments filter by file name: `npm test -- embedded`.
 */
import { runTests } from './runTests.mjs';
import {
  ensureChromium,
  ensureCurl,
  ensureOpenssl,
  ensurePicoLisp,
  ensureScriptTools,
  setup,
} from './setup.mjs';
import { main } from './shared.mjs';

await main(() => {
  setup();
  ensureOpenssl();
  ensureCurl();
  ensurePicoLisp();
  ensureScriptTools();
  ensureChromium();
  const filters = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
  const flags = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
  return runTests(filters, flags);
});
