import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { percentile } from '../../siege/judge.js';
import { failOnLeaks } from '../support/leaks.js';
import { requirePicolisp } from '../support/picolisp.js';
import { start } from '../support/process.js';

const SIEGE = fileURLToPath(new URL('../../siege/siege.js', import.meta.url));
const DEADLINE_MS = 180_000;

failOnLeaks();

describe('a siege', () => {
  it('costs no honest batch, no order, no file outside, and bounded memory', async () => {
    requirePicolisp();
    // How long anybody waits is judged by the long command, on a machine of its own.
    const sources = ['--ours', '20', '--theirs', '4', '--held', '300'];
    const run = start(process.execPath, [SIEGE, '--seconds', '8', ...sources, '--p99', 'off']);
    const exit = await run.end(DEADLINE_MS);
    assert.deepEqual(exit, { code: 0, signal: null }, run.output);
    assert.match(
      run.stdout,
      /batches=[1-9]\d* retries=\d+ binSslBytes=[1-9]\d* attacks=[1-9]\d* peakMiB=\d+ .* OK\n$/,
    );
  });

  it('is judged by what most had to wait', () => {
    const values = Array.from({ length: 200 }, (_, n) => n + 1);
    assert.equal(percentile(values, 0.99), 198);
    assert.equal(percentile([7], 0.99), 7);
    assert.equal(percentile([], 0.99), 0);
  });
});
