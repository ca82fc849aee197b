/** Node's own test runner over the built test files. */
import { join, relative } from 'node:path';
import { filesBelow, ROOT, runThrough, SetupError } from './shared.mjs';

/**
 * For one whole file, too: the runner counts it as a test. Too short fails a crash test on a slow
 * machine; too long only delays the news of a test that waits for what never comes.
 */
const TEST_TIMEOUT_MS = 900_000;

/**
 * Files at once. Many of them wait for leases and intervals half of the time, so two cores take
 * three; more would make the tests that are about time compete for the processor.
 */
const CONCURRENCY = 3;

/**
 * @param {string[]} filters parts of file names; none: all files
 * @param {string[]} flags passed on to the runner
 * @returns {number} its exit code
 */
export function runTests(filters, flags) {
  const files = filesBelow(join(ROOT, 'dist/test'))
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) => filters.length === 0 || filters.some((part) => matches(file, part)));
  if (files.length === 0) throw new SetupError(`no test file matches ${filters.join(' ')}`);
  return runThrough(process.execPath, [
    '--test',
    '--test-reporter=spec',
    '--test-force-exit',
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    `--test-concurrency=${CONCURRENCY}`,
    ...flags,
    ...files,
  ]);
}

/** `test/cli/config.test.ts`, `cli/config` and `config` all name the same file. */
function matches(file, part) {
  return relative(join(ROOT, 'dist'), file).includes(part.replace(/\.ts$/, '.js'));
}
