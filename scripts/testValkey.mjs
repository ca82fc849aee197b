#!/usr/bin/env node
/**
 * Runs the tests that need a Redis with Valkey 8, the embedded one included. Arguments filter by
 * file name, as with `npm test`, and replace the list.
 */
import { runTests } from './runTests.mjs';
import { ensureChromium, ensureOpenssl, ensurePicoLisp, setup } from './setup.mjs';
import { main, say } from './shared.mjs';
import { ensureValkey } from './valkey.mjs';

/** Every test file that starts a server, by the folder or name that it is in. */
const WITH_REDIS = ['test/queue', 'test/embedded', 'test/e2e', 'test/chaos', 'test/dashboard'];

await main(() => {
  // First, so that the set-up finds it and needs no other.
  const server = ensureValkey();
  setup();
  ensureOpenssl();
  ensurePicoLisp();
  ensureChromium();
  say(`the server of this run is ${server}`);
  const filters = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
  const flags = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
  // Every server that a test starts says what it is, and must be this one: see test/support/redis.
  process.env.FERRY_TEST_SERVER = 'valkey-server';
  const code = runTests(filters.length === 0 ? WITH_REDIS : filters, flags);
  say(`that was ${server}`);
  return code;
});
