import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import { nodeFileSystem } from '../../src/common/fileSystem.js';
import type { BatchRecord } from '../../src/receiver/batchRecord.js';
import { BatchStore, type Verdict } from '../../src/receiver/batchStore.js';
import { Intake } from '../../src/receiver/intake/intake.js';
import { RecordLog } from '../../src/receiver/recordLog.js';
import { type Fault, FaultyFileSystem, nameOf } from '../support/faultyFileSystem.js';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';
import { batchesIn } from './harness.js';

const below = tempDir();
failOnLeaks();

/** More than are placed in one go. */
const MANY = 40;
const STREAM = 'ab'.repeat(16);

class App {
  readonly root = mkdtempSync(join(below, 'root-'));
  readonly folder = join(this.root, 'foo.r');
  readonly fs = new FaultyFileSystem();
  intake!: Intake;
  store!: BatchStore;

  static async open(): Promise<App> {
    const app = new App();
    for (const name of ['tmp', 'batches']) mkdirSync(join(app.folder, name), { recursive: true });
    await app.start();
    return app;
  }

  async start(): Promise<void> {
    this.intake = await Intake.open(this.root, this.fs, pino({ level: 'silent' }));
    const { folder, fs, intake } = this;
    this.store = await BatchStore.open({ app: 'foo.r', folder, fs, intake });
  }

  async stop(): Promise<void> {
    await this.store.drain();
    await this.intake.close(10_000);
    await this.store.close();
  }

  /** Sends one, whose content is its number. */
  async send(sequence: number): Promise<Verdict> {
    const data = Buffer.from(String(sequence));
    const incoming = await this.store.begin(data.length);
    await incoming.write(data);
    const claim = { stream: STREAM, sequence, previous: sequence - 1 };
    return this.store.commit(incoming, claim, null);
  }

  async indexed(): Promise<number[]> {
    const numbers: number[] = [];
    const path = join(this.folder, 'index.log');
    await RecordLog.scan<BatchRecord>(path, nodeFileSystem, ({ sequence }) => {
      numbers.push(sequence);
    });
    return numbers;
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

describe('many batches that are accepted at once', () => {
  test('are answered in order, those in front before the last ones have their places', async () => {
    const app = await App.open();
    const order: number[] = [];
    let firstAnsweredAt = 0;
    await Promise.all(
      upTo(MANY).map(async (sequence) => {
        assert.deepEqual(await app.send(sequence), { is: 'stored', number: sequence });
        // What is answered is in its place.
        assert.ok(app.store.lastNumber >= sequence);
        if (order.length === 0) firstAnsweredAt = app.store.lastNumber;
        order.push(sequence);
      }),
    );
    assert.ok(firstAnsweredAt < MANY, `${firstAnsweredAt} had their places by then`);
    assert.deepEqual(order, upTo(MANY));
    assert.deepEqual(batchesIn(app.folder), upTo(MANY).map(String));
    await app.stop();
    assert.deepEqual(await app.indexed(), upTo(MANY));
    assert.equal(app.fs.openHandles, 0, 'files left open');
  });

  const faults: Fault[] = [
    ...[1, 16, 17, 20, MANY].map((at): Fault => ({ operation: 'rename', at, code: 'EIO' })),
    // Those of the intake and of the index come between.
    ...[2, 17, 18, 19, 20, 40].map((at): Fault => ({ operation: 'write', at, code: 'ENOSPC' })),
    ...[5, 18, MANY].map((at): Fault => ({ operation: 'open', at, code: 'EIO' })),
  ];
  for (const fault of faults) {
    test(`all are there once, in order, whatever was answered: ${nameOf(fault)}`, async () => {
      const app = await App.open();
      app.fs.arm(fault);
      const answers = await Promise.allSettled(upTo(MANY).map((sequence) => app.send(sequence)));
      assert.ok(app.fs.hit, 'it has happened');
      const stored = answers.filter(({ status }) => status === 'fulfilled').length;
      assert.ok(stored < MANY);
      assert.ok(answers.slice(0, stored).every(({ status }) => status === 'fulfilled'));
      // What was not answered is sent again, and is known.
      for (const sequence of upTo(MANY).slice(stored)) {
        const { is } = await app.send(sequence);
        assert.ok(is === 'duplicate' || is === 'stored', is);
      }
      assert.deepEqual(batchesIn(app.folder), upTo(MANY).map(String));
      assert.equal(app.store.lastNumber, MANY);
      await app.stop();
      assert.deepEqual(await app.indexed(), upTo(MANY));
      assert.equal(app.fs.openHandles, 0, 'files left open');
    });
  }

  test('leave no file open when the receiver stops in the middle of them', async () => {
    const app = await App.open();
    app.fs.arm({ operation: 'rename', at: 20, code: 'EIO', lasting: true });
    const answers = await Promise.allSettled(upTo(MANY).map((sequence) => app.send(sequence)));
    assert.equal(answers.filter(({ status }) => status === 'fulfilled').length, 16);
    await app.stop();
    assert.equal(app.fs.openHandles, 0, 'files left open');
    // The intake has kept what is missing.
    app.fs.arm(undefined);
    await app.start();
    assert.deepEqual(batchesIn(app.folder), upTo(MANY).map(String));
    assert.deepEqual(await app.send(MANY), { is: 'duplicate', number: MANY });
    await app.stop();
  });
});
