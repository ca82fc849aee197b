/** Node's own test runner over the built test files. */
import { join, relative } from 'node:path';
import { filesBelow, ROOT, runThrough, SetupError } from './shared.mjs';

/**
 * For one whole file. The longest take a minute on two cores that do nothing else; too short fails
 * them on a slow machine, too long delays the news of a test that waits for what never comes.
 */
const FILE_TIMEOUT_MS = 600_000;

/**
 * Files at once. Many of them wait for leases and intervals half of the time, so two cores take
 * three; more would make the tests that are about time compete for the processor.
 */
const CONCURRENCY = 3;

/**
 * Files that take long, the longest first, so that none of them runs alone at the end. All others
 * follow in the order of their names. A run says how long its long ones took; the order may be a
 * little wrong and costs seconds then.
 */
const LONG_FILES = [
  'ssl/conformance',
  'e2e/crash',
  'e2e/badInput',
  'e2e/routes',
  'spool/spool',
  'e2e/skip',
  'e2e/replay',
  'e2e/archive',
  'e2e/h2',
  'e2e/receiverCrash',
  'receiver/identity',
  'peers/apply',
  'power/producerFaults',
  'queue/model',
  'e2e/picolisp',
  'receiver/model',
  'embedded/embeddedRedis',
  'receiver/crash',
  'ssl/daemon',
  'status/batches',
  'ssl/startScripts',
  'status/watch',
  'receiver/faults',
  'doctor/command',
  'capture/recovery',
  'metrics/metrics',
  'peers/replica',
  'e2e/redisCrash',
  'dashboard/browser',
  'e2e/manyWorkers',
  'power/producer',
  'dashboard/alone',
  'e2e/verdicts',
  'protocol/h2',
  'protocol/faults',
  'e2e/failover/failover',
  'power/receiverFaults',
  'queue/mutants',
  'receiver/h2',
  'protocol/send',
  'e2e/redisMemory',
  'peers/replica2015',
  'power/forgotten',
  'receiver/status',
  'e2e/repeat',
  'chaos/chaos',
  'siege/siege',
  'week/week',
].map((name) => `dist/test/${name}.test.js`);

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
    join(ROOT, 'scripts/runFiles.mjs'),
    '--test-force-exit',
    ...flags,
    `${CONCURRENCY}`,
    `${FILE_TIMEOUT_MS}`,
    ...longestFirst(files),
  ]);
}

function longestFirst(files) {
  const place = (file) => {
    const at = LONG_FILES.indexOf(relative(ROOT, file));
    return at < 0 ? LONG_FILES.length : at;
  };
  return files.toSorted((a, b) => place(a) - place(b));
}

/** `test/cli/config.test.ts`, `cli/config` and `config` all name the same file. */
function matches(file, part) {
  return relative(join(ROOT, 'dist'), file).includes(part.replace(/\.ts$/, '.js'));
}
