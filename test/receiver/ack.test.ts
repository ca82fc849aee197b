import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { connectionsSettled } from '../../src/protocol/index.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import { claim, HEAD, KEY, open, raw, receiverConfig, ship, TestReceiver } from './harness.js';

failOnLeaks();

const running: TestReceiver[] = [];

/** A receiver with `ack: applied`; the command takes a batch when the file `go` is there. */
class Site {
  readonly folder = tempDir();
  readonly out = join(this.folder, 'out');
  readonly receiver: TestReceiver;

  private constructor(otherwise: string) {
    const config = receiverConfig();
    const script = `until [ -e ${this.folder}/go ]; do ${otherwise}; done; cat >> ${this.out}`;
    const apps = config.apps.map((app) => ({
      ...app,
      ack: 'applied' as const,
      apply: ['sh', '-c', script],
    }));
    this.receiver = new TestReceiver({ ...config, apps });
  }

  static async waiting(): Promise<Site> {
    return Site.#start('sleep 0.02');
  }

  static async failing(): Promise<Site> {
    return Site.#start('exit 1');
  }

  static async #start(otherwise: string): Promise<Site> {
    const site = new Site(otherwise);
    await site.receiver.start();
    running.push(site.receiver);
    return site;
  }

  get port(): number {
    return this.receiver.port;
  }

  get applied(): string {
    return existsSync(this.out) ? readFileSync(this.out, 'latin1') : '';
  }

  go(): void {
    writeFileSync(join(this.folder, 'go'), '');
  }

  async stored(batches: number): Promise<void> {
    await until('it is stored', () => this.receiver.batches().length === batches);
  }
}

afterEach(async () => {
  await connectionsSettled();
  await Promise.all(running.splice(0).map((one) => one.stop()));
});

describe('with ack: applied', () => {
  for (const dialect of ['acked', 'h2'] as const) {
    test(`the confirmation comes when the command has done the batch, and not before: ${dialect}`, async () => {
      const site = await Site.waiting();
      let confirmed = false;
      const shipped = ship(site.port, 'a', claim(1, 0, 'a'), undefined, { dialect }).then(() => {
        confirmed = true;
      });
      await site.stored(1);
      assert.equal(confirmed, false);
      assert.equal(site.applied, '');
      site.go();
      await shipped;
      assert.equal(site.applied, 'a');
      assert.equal(readFileSync(join(site.receiver.folder(), 'applied'), 'latin1'), '1\n');
    });
  }

  test('a sender learns that the command fails, and its repeat is confirmed when it is mended', async () => {
    const site = await Site.failing();
    const failed = { code: 'NOT_APPLIED', message: /its apply command fails/ };
    await assert.rejects(ship(site.port, 'a', claim(1, 0, 'a')), failed);
    assert.deepEqual(site.receiver.batches(), ['a']);
    site.go();
    await ship(site.port, 'a', claim(1, 0, 'a'));
    await ship(site.port, 'b', claim(2, 1, 'b'));
    assert.deepEqual(site.receiver.batches(), ['a', 'b']);
    assert.equal(site.applied, 'ab');
  });

  test('a sender without identity is kept waiting: its repeat would be another batch', async () => {
    const site = await Site.failing();
    const answer = raw(site.port, [HEAD, KEY, '1\naT']);
    const trouble = join(site.receiver.folder(), 'apply-trouble.json');
    await until('the command has failed', () => existsSync(trouble));
    site.go();
    assert.equal(await answer, 'T');
    assert.deepEqual(site.receiver.batches(), ['a']);
    assert.equal(site.applied, 'a');
    assert.equal(existsSync(trouble), false, 'what is over is still told');
  });

  test('a client that leaves is waited for no longer, and the batch stays', async () => {
    for (const how of ['end', 'destroy'] as const) {
      const site = await Site.waiting();
      const socket = await open(site.port);
      socket.write(`${HEAD}${KEY}1\naT`);
      await site.stored(1);
      socket.resume();
      socket[how]();
      await until('its connection is over', () => site.receiver.connections === 0);
      site.go();
      await until('it is applied all the same', () => site.applied === 'a');
    }
  });

  test('a stop confirms nothing that is not applied', async () => {
    const site = await Site.waiting();
    const answer = raw(site.port, [HEAD, KEY, '1\naT']);
    await site.stored(1);
    await site.receiver.stop();
    assert.notEqual(await answer, 'T');
    assert.equal(site.applied, '');
  });
});
