import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { failOnLeaks } from '../support/leaks.js';
import { start } from '../support/process.js';

const CHAOS = fileURLToPath(new URL('../../chaos/chaos.js', import.meta.url));
const DEADLINE_MS = 180_000;

failOnLeaks();

describe('chaos', () => {
  it('loses, doubles, reorders nothing while roles and Redis are killed, stopped, flushed, restored', async () => {
    const args = ['--peer', 'sink', '--minutes', '0.33', '--seed', '1018', '--journals', '3'];
    const chaos = start(process.execPath, [CHAOS, ...args, '--short-stops']);
    const exit = await chaos.end(DEADLINE_MS);
    const last = chaos.stdout.trim().split('\n').at(-1) ?? '';
    assert.deepEqual(exit, { code: 0, signal: null }, chaos.output);
    assert.match(last, /kills=[1-9].* batches=[1-9]\d* bytes=[1-9]\d* .*repeats=\d+/);
    assert.match(last, /lost=0 duplicated=0 reordered=0 torn=0 overlaps=0 stale=0/);
    assert.match(last, /badRepeats=0 failures=0 OK$/);
  });
});
