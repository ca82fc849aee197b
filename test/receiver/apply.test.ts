import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { connectionsSettled } from '../../src/protocol/index.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import { claim, receiverConfig, ship, TestReceiver } from './harness.js';

after(connectionsSettled);
failOnLeaks();

function withApply(script: string): TestReceiver {
  const config = receiverConfig();
  const apps = config.apps.map((app) => ({ ...app, apply: ['sh', '-c', script] }));
  return new TestReceiver({ ...config, apps });
}

const position = (one: TestReceiver): string => {
  const path = join(one.folder(), 'applied');
  return existsSync(path) ? readFileSync(path, 'latin1').trim() : '0';
};

describe('the apply command', () => {
  test('gets every batch in order, with its name and number', async () => {
    const out = join(tempDir(), 'out');
    const one = withApply(
      `{ echo "$FERRY_APP $FERRY_SEQ $(basename $FERRY_BATCH)"; cat; echo; } >> ${out}`,
    );
    await one.start();
    for (let n = 1; n <= 3; n += 1) await ship(one.port, `data ${n}`, claim(n, n - 1, `data ${n}`));
    await until('all are applied', () => position(one) === '3');
    await one.stop();
    const expected = [1, 2, 3].map((n) => `foo.r ${n} 000000000${n}.batch\ndata ${n}\n`).join('');
    assert.equal(readFileSync(out, 'latin1'), expected);
  });

  test('that fails is tried again, and later batches wait', async () => {
    const folder = tempDir();
    const out = join(folder, 'out');
    const one = withApply(
      `[ -e ${folder}/fixed ] || { echo tried >> ${folder}/tries; exit 1; }; cat >> ${out}`,
    );
    await one.start();
    await ship(one.port, 'a', claim(1, 0, 'a'));
    await ship(one.port, 'b', claim(2, 1, 'b'));
    await until('it was tried', () => existsSync(join(folder, 'tries')));
    assert.equal(position(one), '0');
    writeFileSync(join(folder, 'fixed'), '');
    await until('both are applied', () => position(one) === '2');
    assert.equal(readFileSync(out, 'latin1'), 'ab');
    await one.stop();
  });

  test('goes on after a restart where it was', async () => {
    const folder = tempDir();
    const out = join(folder, 'out');
    const one = withApply(`cat >> ${out}`);
    await one.start();
    await ship(one.port, 'a', claim(1, 0, 'a'));
    await until('the first is applied', () => position(one) === '1');
    await one.stop();
    await one.start();
    await ship(one.port, 'b', claim(2, 1, 'b'));
    await until('the second is applied', () => position(one) === '2');
    await one.stop();
    assert.equal(readFileSync(out, 'latin1'), 'ab');
  });

  test('that hangs does not hold up a stop for long, and its batch comes again', async () => {
    const folder = tempDir();
    const one = withApply(`touch ${folder}/began; trap '' TERM; exec sleep 600`);
    await one.start();
    await ship(one.port, 'a', claim(1, 0, 'a'));
    await until('it began', () => existsSync(join(folder, 'began')));
    const started = performance.now();
    await one.stop();
    assert.ok(performance.now() - started < 8_000);
    assert.equal(position(one), '0');
  });

  test('that does not exist is reported and retried, not fatal', async () => {
    const config = receiverConfig();
    const apps = config.apps.map((app) => ({ ...app, apply: ['/no/such/program'] }));
    const one = await new TestReceiver({ ...config, apps }).start();
    await ship(one.port, 'a', claim(1, 0, 'a'));
    await ship(one.port, 'b', claim(2, 1, 'b'));
    assert.deepEqual(one.batches(), ['a', 'b']);
    await one.stop();
  });
});
