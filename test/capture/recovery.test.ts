import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { appendFile, mkdir, open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { trim } from 'fs-native-extensions';
import { FerryError } from '../../src/common/errors.js';
import { temporaryDirectory } from '../spool/helpers.js';
import { checkRecords, record } from '../support/journalWriter.js';
import { bench, everything, shipped, start } from './helpers.js';
import { RECORD_BYTES_MAX } from './shipper.js';

const SHIPPER = fileURLToPath(new URL('shipper.js', import.meta.url));

const POINTS = {
  small: ['locked', 'copied', 'sealed', 'truncated', 'marked', 'settled'],
  large: ['precopied', 'locked', 'copied', 'sealed', 'truncated', 'marked', 'settled'],
  trimmed: [
    'precopied',
    'trimMarked',
    'trimmed',
    'locked',
    'copied',
    'sealed',
    'truncated',
    'marked',
  ],
};
const ROUNDS = { small: [3, 5, 4], large: [60, 80, 70], trimmed: [60, 80, 70] };

for (const mode of ['small', 'large', 'trimmed'] as const) {
  for (const point of POINTS[mode]) {
    for (const passing of [1, 2]) {
      for (const boot of ['boot-a', 'boot-b']) {
        const where = `${mode}, killed at capture.${point} (${passing}), then ${boot}`;
        test(`${where}: nothing is lost or doubled`, async (t) => {
          const root = await temporaryDirectory(t);
          const path = join(root, 'journal');
          await writeFile(path, '');
          const trimAbove = mode === 'trimmed' ? '300000' : '0';
          const args = [SHIPPER, join(root, 'spool'), path, 'boot-a', trimAbove];
          const child = spawn(process.execPath, [...args, ...ROUNDS[mode].map(String)], {
            env: { ...process.env, FERRY_CRASH_AT: `capture.${point}:${passing}` },
            stdio: ['ignore', 'pipe', 'inherit'],
          });
          let said = '';
          child.stdout.setEncoding('utf8').on('data', (text: string) => {
            said += text;
          });
          const [, signal] = await once(child, 'close');
          assert.equal(signal, 'SIGKILL');
          let written = Number(said.trim().split('\n').at(-1));
          // The writer goes on before anybody recovers, and after.
          for (const more of [2, 3]) {
            for (let i = 0; i < more; i += 1) {
              written += 1;
              appendFileSync(path, record(written, RECORD_BYTES_MAX));
            }
            const b = await start(root, boot);
            await b.capture.recover();
            if (b.spool.trimMark === null) {
              assert.equal(checkRecords(await everything(b), RECORD_BYTES_MAX), written);
            }
            await b.capture.capture();
            assert.equal((await stat(path)).size, 0);
            assert.equal(checkRecords(await shipped(b.spool), RECORD_BYTES_MAX), written);
            await b.close();
          }
        });
      }
    }
  }
}

/** A captured batch whose truncation was undone, as a power cut does: content of the journal. */
async function afterPowerCut(
  t: Parameters<typeof bench>[0],
  batches: readonly string[],
  content: string | Buffer,
  boot = 'boot-b',
) {
  const b = await bench(t);
  for (const batch of batches) {
    await appendFile(b.path, batch);
    await b.capture.capture();
  }
  assert.equal(b.spool.settledThrough, 0);
  const c = await b.restart(boot);
  await writeFile(c.path, content);
  return c;
}

const ONE = 'first batch, long enough '.repeat(20_000);
const TWO = 'second batch '.repeat(1000);

/** Zeros instead of some bytes. */
function hole(text: string, from: number, to: number): string {
  return text.slice(0, from) + '\0'.repeat(to - from) + text.slice(to);
}

for (const [name, content, of, rest] of [
  ['all of the last batch', TWO, 2, ''],
  ['all of the last batch and new commits', `${TWO}new`, 2, 'new'],
  ['a prefix of the last batch', TWO.slice(0, 5000), 2, ''],
  ['a prefix of the last batch and zeros', TWO.slice(0, 5000) + '\0'.repeat(7000), 2, ''],
  ['zeros alone', '\0'.repeat(500), 2, ''],
  // Pages come back in any order: such a leftover was once shipped again.
  ['the last batch, a page in the middle missing', hole(TWO, 4096, 8192), 2, ''],
  ['the last batch, its first page missing', hole(TWO, 0, 4096), 2, ''],
  [
    'the last batch, every other page as it was earlier',
    hole(hole(TWO, 1000, 4096), 9000, 12_288),
    2,
    '',
  ],
  ['the last batch with a page missing, and new commits', `${hole(TWO, 4096, 8192)}new`, 2, 'new'],
  ['all of an older batch', ONE, 1, ''],
  ['a prefix of an older batch', ONE.slice(0, 300_000), 1, ''],
  ['an older batch and new commits', `${ONE}new`, 1, 'new'],
] as const) {
  test(`after a power cut, a journal with ${name} is recognised`, async (t) => {
    const b = await afterPowerCut(t, [ONE, TWO], content);
    const outcome = await b.capture.recover();
    assert.equal(outcome.found, 'leftover');
    assert.equal(outcome.found === 'leftover' && outcome.of, of);
    assert.equal(String(await shipped(b.spool)), ONE + TWO + rest);
    assert.equal((await stat(b.path)).size, 0);
    assert.deepEqual(await b.capture.capture(), { empty: true });
    await b.close();
  });
}

for (const [name, content] of [
  ['nothing', ''],
  ['other bytes', 'quite different'],
  ['zeros longer than any batch', '\0'.repeat(600_000)],
  ['a prefix, zeros, and more', `${TWO.slice(0, 100)}\0\0\0more`],
  // Whose zeros these are cannot be known: what may be new is not dropped.
  ['zeros as long as the last batch, and more', `${'\0'.repeat(TWO.length)}more`],
  ['the last batch, one byte of it another', `${TWO.slice(0, 5000)}x${TWO.slice(5001)}`],
] as const) {
  test(`after a power cut, a journal with ${name} was truncated`, async (t) => {
    const b = await afterPowerCut(t, [ONE, TWO], content);
    assert.equal((await b.capture.recover()).found, 'truncated');
    assert.equal(String(await everything(b)), ONE + TWO + content);
    const again = await b.restart('boot-b');
    assert.deepEqual(await again.capture.recover(), { found: 'nothing' });
    await again.close();
  });
}

/**
 * What follows a leftover with a missing page is sealed in the new boot. The producer was killed
 * before it could empty the journal; its successor, in the same boot, must still know the page.
 */
test('a leftover with a page missing is known to a successor in the boot after', async (t) => {
  const b = await afterPowerCut(t, [ONE, TWO], `${hole(TWO, 4096, 8192)}new`);
  const seal = b.spool.seal.bind(b.spool);
  b.spool.seal = async (request) => {
    await seal(request);
    throw new Error('killed');
  };
  await assert.rejects(b.capture.recover(), /killed/);
  const c = await b.restart('boot-b');
  assert.equal((await c.capture.recover()).found, 'leftover');
  assert.equal((await stat(c.path)).size, 0);
  assert.equal(String(await shipped(c.spool)), `${ONE}${TWO}new`);
  await c.close();
});

test('in the same boot a truncated mark is believed, whatever the journal holds', async (t) => {
  const b = await afterPowerCut(t, ['same'], 'same', 'boot-a');
  assert.deepEqual(await b.capture.recover(), { found: 'nothing' });
  await b.capture.capture();
  assert.equal(String(await shipped(b.spool)), 'samesame');
  await b.close();
});

test('a settled batch is never compared again', async (t) => {
  const b = await bench(t, Buffer.from('same'));
  await b.capture.capture();
  await b.capture.settle();
  const c = await b.restart('boot-b');
  await writeFile(c.path, 'same');
  assert.deepEqual(await c.capture.recover(), { found: 'nothing' });
  await c.capture.capture();
  assert.equal(String(await shipped(c.spool)), 'samesame');
  await c.close();
});

test('in the same boot a prefix of a sealed batch is new', async (t) => {
  const b = await bench(t, Buffer.from('abcdef'));
  await b.capture.recover();
  b.spool.recordTruncated = () => Promise.resolve();
  await b.capture.capture();
  const c = await b.restart('boot-a');
  await writeFile(c.path, 'abc');
  assert.equal((await c.capture.recover()).found, 'truncated');
  await c.capture.capture();
  assert.equal(String(await shipped(c.spool)), 'abcdefabc');
  await c.close();
});

for (const boot of ['boot-a', 'boot-b']) {
  test(`killed again and again behind the seal of what followed a leftover (${boot})`, async (t) => {
    let b = await bench(t, Buffer.from('first,'));
    await b.capture.recover();
    let expected = 'first,';
    for (const more of ['second,', 'third,'.repeat(60_000), 'fourth,']) {
      const name = b.path;
      // The seal is made, the truncation is not: the process ends in between.
      const seal = b.spool.seal.bind(b.spool);
      b.spool.seal = async (request) => {
        await seal(request);
        throw new Error('killed');
      };
      await assert.rejects(b.capture.capture(), /killed/);
      await appendFile(name, more);
      expected += more;
      b = await b.restart(boot);
    }
    assert.equal(b.spool.lastSequence, 3);
    const outcome = await b.capture.recover();
    assert.equal(outcome.found, 'leftover');
    assert.equal((await stat(b.path)).size, 0);
    assert.equal(String(await shipped(b.spool)), expected);
    await b.close();
  });
}

test('a trimmed copy is not dropped, and refuses a journal that is not its own', async (t) => {
  const root = await temporaryDirectory(t);
  await mkdir(join(root, 'x'));
  const content = randomBytes(1024 * 1024);
  await writeFile(join(root, 'journal'), content);
  const b = await start(root, 'boot-a', { trimAboveBytes: 1000 });
  await b.capture.recover();
  b.spool.seal = () => Promise.reject(new Error('killed'));
  await assert.rejects(b.capture.capture(), /killed/);
  const mark = b.spool.trimMark?.bytes ?? 0;
  assert.ok(mark > 900_000);
  const c = await b.restart('boot-b');
  assert.deepEqual(await c.capture.recover(), { found: 'trimmed', bytes: mark });
  const hole = await readFile(c.path);
  assert.ok(hole.subarray(0, mark).every((byte) => byte === 0));
  await writeFile(c.path, 'somebody else');
  await assert.rejects(
    c.capture.capture(),
    (error) => error instanceof FerryError && error.code === 'JOURNAL_CHANGED_WHILE_TRIMMED',
  );
  // As the hint says: the bytes back in front.
  await writeFile(c.path, hole);
  await appendFile(c.path, 'tail');
  await c.capture.capture();
  assert.ok(Buffer.concat([content, Buffer.from('tail')]).equals(await shipped(c.spool)));
  await c.close();
});

test('a trimmed and sealed journal is recognised through its hole, punched or not', async (t) => {
  for (const punched of [true, false]) {
    const root = await temporaryDirectory(t);
    const content = randomBytes(1024 * 1024 + 5);
    await writeFile(join(root, 'journal'), content);
    const b = await start(root, 'boot-a', { trimAboveBytes: 1000 });
    await b.capture.capture();
    const mark = b.spool.batch(1)?.trimmedBytes ?? 0;
    assert.ok(mark > 0);
    const c = await b.restart('boot-b');
    await writeFile(c.path, content);
    if (punched) {
      const handle = await open(c.path, 'r+');
      await trim(handle.fd, 65536, mark - 65536);
      await handle.close();
    }
    await appendFile(c.path, 'more');
    const outcome = await c.capture.recover();
    assert.equal(outcome.found, 'leftover');
    assert.ok(Buffer.concat([content, Buffer.from('more')]).equals(await shipped(c.spool)));
    await c.close();
  }
});
