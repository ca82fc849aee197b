import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ReceiverConfig } from '../../src/config/model.js';
import { INTAKE_FOLDER } from '../../src/receiver/intake/intake.js';
import { failOnLeaks } from '../support/leaks.js';
import { start, type TestProcess, until } from '../support/process.js';
import {
  batchesIn,
  claim,
  receiverConfig,
  STREAM,
  settled,
  ship,
  ship as shipOver,
  TestReceiver,
} from './harness.js';

const CHILD = fileURLToPath(new URL('./receiverChild.js', import.meta.url));

async function child(
  config: ReceiverConfig,
  crashAt?: string,
): Promise<{ process: TestProcess; port: number }> {
  const env = { FERRY_CRASH_AT: crashAt };
  const process_ = start(process.execPath, [CHILD, JSON.stringify(config)], { env });
  const line = await process_.line(/^port \d+$/);
  return { process: process_, port: Number(line.slice(5)) };
}

after(settled);
failOnLeaks();

/** What was accepted so far is durable in its place, and the intake is empty. */
function settledOnce({ dataDir }: ReceiverConfig): Promise<void> {
  const folder = join(dataDir, INTAKE_FOLDER);
  return until('it is settled', () => readdirSync(folder).length === 0);
}

const OF_BLOBS = [
  'receiver.written',
  'receiver.synced',
  'receiver.committed',
  'receiver.renamed',
  'receiver.answered',
] as const;
/** A small batch is gathered in memory, a large one has a file of its own from the start. */
const TWO = { small: 'two', large: 'two'.padEnd(100_000, '.') };
const CASES = [
  ['receiver.written', 'large'],
  ['receiver.synced', 'large'],
  ['intake.written', 'small'],
  ['intake.written', 'large'],
  ['receiver.committed', 'small'],
  ['receiver.committed', 'large'],
  ['receiver.renamed', 'small'],
  ['receiver.renamed', 'large'],
  ['receiver.answered', 'small'],
  ['intake.settled', 'small'],
  ['intake.freed', 'large'],
] as const;
/** Before the intake holds it, it is not accepted. */
const NOT_ACCEPTED: readonly string[] = ['receiver.written', 'receiver.synced'];
/** Passed after the answer. */
const ANSWERED: readonly string[] = ['receiver.answered', 'intake.settled', 'intake.freed'];

for (const dialect of ['acked', 'h2'] as const) {
  const ship = (...[port, data, identity, path]: Parameters<typeof shipOver>) =>
    shipOver(port, data, identity, path, { dialect });

  describe(`a receiver that is killed, over the wire ${dialect}`, () => {
    for (const [point, size] of CASES) {
      test(`at ${point} has a ${size} batch exactly once after the sender's next attempt`, async () => {
        const config = receiverConfig();
        const folder = join(config.dataDir, 'foo.r');
        const two = TWO[size];
        // Only batches that are in files of their own pass the first points.
        const first = await child(config, NOT_ACCEPTED.includes(point) ? point : `${point}:2`);
        await ship(first.port, 'one', claim(1, 0, 'one'));
        if (point.startsWith('intake.') && ANSWERED.includes(point)) await settledOnce(config);
        const shipped = ship(first.port, two, claim(2, 1, two));
        // A kill behind the `T`: the sender may have got it, or not.
        if (ANSWERED.includes(point)) await shipped.catch(() => undefined);
        else await assert.rejects(shipped);
        assert.equal((await first.process.end()).signal, 'SIGKILL');

        const second = await child(config);
        const afterRecovery = batchesIn(folder);
        assert.deepEqual(afterRecovery, NOT_ACCEPTED.includes(point) ? ['one'] : ['one', two]);
        assert.deepEqual(readdirSync(join(folder, 'tmp')), []);
        await ship(second.port, two, claim(2, 1, two));
        await ship(second.port, 'three', claim(3, 2, 'three'));
        assert.deepEqual(batchesIn(folder), ['one', two, 'three']);
        assert.deepEqual(await second.process.kill('SIGTERM'), { code: 0, signal: null });
        assert.deepEqual(readdirSync(join(config.dataDir, INTAKE_FOLDER)), [], 'a clean stop');
      });
    }

    for (const point of OF_BLOBS) {
      test(`at ${point} of a blob has its last version after the sender's next attempt`, async () => {
        const config = receiverConfig();
        const folder = join(config.dataDir, 'foo.r');
        const blob = () => readFileSync(join(folder, 'blobs', 'a/b'), 'latin1');
        const first = await child(config, `${point}:2`);
        await ship(first.port, 'old', { stream: STREAM, version: 1 }, 'a/b');
        const shipped = ship(first.port, 'new', { stream: STREAM, version: 2 }, 'a/b');
        if (point === 'receiver.answered') await shipped.catch(() => undefined);
        else await assert.rejects(shipped);
        assert.equal((await first.process.end()).signal, 'SIGKILL');

        const second = await child(config);
        assert.match(blob(), /^(old|new)$/);
        await ship(second.port, 'new', { stream: STREAM, version: 2 }, 'a/b');
        await ship(second.port, 'old', { stream: STREAM, version: 1 }, 'a/b');
        assert.equal(blob(), 'new');
        assert.deepEqual(readdirSync(join(folder, 'tmp')), []);
        await second.process.kill('SIGTERM');
      });
    }
  });
}

describe('a receiver that is killed', () => {
  test('at receiver.folderMade has the blob after the next attempt', async () => {
    const config = receiverConfig();
    const first = await child(config, 'receiver.folderMade:2');
    const send = (port: number) => ship(port, 'new', { stream: STREAM, version: 1 }, 'a/b/c');
    await assert.rejects(send(first.port));
    assert.equal((await first.process.end()).signal, 'SIGKILL');
    const second = await child(config);
    await send(second.port);
    const file = join(config.dataDir, 'foo.r/blobs/a/b/c');
    assert.equal(readFileSync(file, 'latin1'), 'new');
    await second.process.kill('SIGTERM');
  });

  test('at receiver.applied gives that batch to the apply command once more, and no other', async () => {
    const plain = receiverConfig();
    const out = join(plain.dataDir, '..', 'out');
    const apply = ['sh', '-c', `cat >> ${out}`];
    const config = { ...plain, apps: plain.apps.map((app) => ({ ...app, apply })) };
    const first = await child(config, 'receiver.applied:2');
    await ship(first.port, 'one,', claim(1, 0, 'one,'));
    await ship(first.port, 'two,', claim(2, 1, 'two,')).catch(() => undefined);
    assert.equal((await first.process.end()).signal, 'SIGKILL');
    assert.equal(readFileSync(out, 'latin1'), 'one,two,');
    const second = await child(config);
    await ship(second.port, 'three', claim(3, 2, 'three'));
    await until('all is applied', () => readFileSync(out, 'latin1').endsWith('three'));
    assert.equal(readFileSync(out, 'latin1'), 'one,two,two,three');
    await second.process.kill('SIGTERM');
  });

  test('whose apply command lives on is followed by one that waits for it', async () => {
    const plain = receiverConfig();
    const folder = join(plain.dataDir, '..');
    const log = join(folder, 'log');
    const lines = () => (existsSync(log) ? readFileSync(log, 'latin1').split('\n') : []);
    const script = `echo begin $FERRY_SEQ >> ${log}; until [ -e ${folder}/go ]; do sleep 0.02; done; echo end $FERRY_SEQ >> ${log}`;
    const apply = ['sh', '-c', script];
    const config = { ...plain, apps: plain.apps.map((app) => ({ ...app, apply })) };
    const first = await child(config);
    await ship(first.port, 'one', claim(1, 0, 'one'));
    await until('the command runs', () => lines().length > 1);
    first.process.signal('SIGKILL');
    // Its output is still held open by the command.
    await first.process.exited;

    const second = await child(config);
    await ship(second.port, 'two', claim(2, 1, 'two'));
    await second.process.line(/APPLY_STILL_RUNNING/);
    assert.deepEqual(lines(), ['begin 1', '']);
    writeFileSync(join(folder, 'go'), '');
    const all = ['begin 1', 'end 1', 'begin 1', 'end 1', 'begin 2', 'end 2', ''];
    await until('all is applied', () => lines().length === all.length);
    assert.deepEqual(lines(), all);
    await second.process.kill('SIGTERM');
  });

  test('anywhere in a stream of batches loses and doubles nothing', async () => {
    const config = receiverConfig();
    const expected: string[] = [];
    let sequence = 1;
    for (let round = 0; round < 5; round += 1) {
      const { process: running, port } = await child(config);
      const killed = new Promise<void>((resolve) => {
        setTimeout(() => resolve(running.kill('SIGKILL').then(() => undefined)), 20 + 15 * round);
      });
      for (;;) {
        const data = `${sequence} `.repeat(20_000);
        try {
          await ship(port, data, claim(sequence, sequence - 1, data));
        } catch {
          break;
        }
        expected.push(data);
        sequence += 1;
      }
      await killed;
    }
    const last = await child(config);
    const data = `${sequence} `.repeat(20_000);
    await ship(last.port, data, claim(sequence, sequence - 1, data));
    expected.push(data);
    assert.deepEqual(batchesIn(join(config.dataDir, 'foo.r')), expected);
    await last.process.kill('SIGTERM');
  });
});

describe('what a power cut may leave of index.log', () => {
  test('a torn last line is cut off, and its batch comes again', async () => {
    const one = await new TestReceiver().start();
    await ship(one.port, 'one', claim(1, 0, 'one'));
    await one.stop();
    const index = join(one.folder(), 'index.log');
    const whole = readFileSync(index);
    appendFileSync(index, 'deadbeef [{"number":2,"stre');
    await one.start();
    assert.deepEqual(readFileSync(index), whole);
    await ship(one.port, 'two', claim(2, 1, 'two'));
    assert.deepEqual(one.batches(), ['one', 'two']);
    await one.stop();
  });

  test('damage before a good line is an error with a hint, not a guess', async () => {
    const one = await new TestReceiver().start();
    await ship(one.port, 'one', claim(1, 0, 'one'));
    await ship(one.port, 'two', claim(2, 1, 'two'));
    await one.stop();
    const index = join(one.folder(), 'index.log');
    const text = readFileSync(index, 'latin1');
    writeFileSync(index, text.replace('"number":1', '"number":7'));
    await assert.rejects(one.start(), { code: 'INDEX_DAMAGED' });
    writeFileSync(index, text);
    await one.start();
    await one.stop();
  });
});
