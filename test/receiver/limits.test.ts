import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import type { ReceiverApp, ReceiverConfig } from '../../src/config/model.js';
import { connectionsSettled } from '../../src/protocol/index.js';
import { Pace } from '../../src/receiver/appLimits.js';
import { attemptEnd } from '../../src/workers/failure.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import {
  claim,
  HEAD,
  KEY,
  NO_APP_LIMITS,
  open,
  raw,
  receiverConfig,
  STREAM,
  ship,
  TestReceiver,
} from './harness.js';

failOnLeaks();

const running: TestReceiver[] = [];
async function limited(
  limits: Partial<ReceiverApp['limits']>,
  changes: Partial<ReceiverConfig> = {},
): Promise<TestReceiver> {
  const config = receiverConfig(changes);
  const apps = ['foo.r', 'other.r'].flatMap((name) =>
    config.apps.map((app) => ({ ...app, name, limits: { ...NO_APP_LIMITS, ...limits } })),
  );
  const one = await new TestReceiver({ ...config, apps }).start();
  running.push(one);
  return one;
}
afterEach(async () => {
  await connectionsSettled();
  await Promise.all(running.splice(0).map((one) => one.stop()));
});

async function refusal(sending: Promise<unknown>): Promise<FerryError> {
  const error = await sending.then(
    () => assert.fail('confirmed'),
    (e: unknown) => e,
  );
  assert.ok(error instanceof FerryError);
  return error;
}

describe('a rate', () => {
  test('admits a burst, is then behind for as long as what came too early takes, and catches up', () => {
    let now = 0;
    const pace = new Pace(2, 10, () => now);
    pace.take(10);
    assert.equal(pace.behindMs(), 0);
    pace.take(30);
    assert.equal(pace.behindMs(), 15);
    assert.equal(pace.untilMs(4), 17);
    now = 15;
    assert.equal(pace.behindMs(), 0);
    now = 1_000_000;
    pace.take(12);
    assert.equal(pace.behindMs(), 1, 'a long pause saves up no more than the burst');
  });
});

describe('the limits of an app', () => {
  test('requests beyond the rate are refused with the time to wait, and nothing of them is kept', async () => {
    const one = await limited({ requestsPerMinute: 2 });
    await ship(one.port, 'a', claim(1, 0, 'a'));
    await ship(one.port, 'blob', { stream: STREAM, version: 1 }, 'x');
    const error = await refusal(ship(one.port, 'b', claim(2, 1, 'b')));
    assert.equal(error.code, 'RECEIVER_LIMIT');
    assert.match(error.message, /too-many-requests, again in (30|29|28) s$/);
    assert.match(error.hint ?? '', /goes on by itself/);
    const answer = await raw(one.port, [HEAD, KEY, '1\nbT']);
    assert.match(answer, /^HTTP\/1\.0 429 Too Many Requests\r\n.*Retry-After: \d+\r\n/s);
    assert.deepEqual(one.batches(), ['a']);
    assert.deepEqual(one.parts(), []);
    // Another app is another budget.
    await ship(one.port, 'c', claim(1, 0, 'c'), undefined, { url: 'other.r/!replica' });
    assert.deepEqual(one.batches('other.r'), ['c']);
  });

  test('a rate is the same over HTTP/2', async () => {
    const one = await limited({ requestsPerMinute: 2 });
    const h2 = { dialect: 'h2' } as const;
    await ship(one.port, 'a', claim(1, 0, 'a'), undefined, h2);
    await ship(one.port, 'b', claim(2, 1, 'b'));
    const error = await refusal(ship(one.port, 'c', claim(3, 2, 'c'), undefined, h2));
    assert.equal(error.code, 'RECEIVER_LIMIT');
    assert.match(error.message, /too-many-requests, again in (30|29|28) s$/);
    assert.deepEqual(one.batches(), ['a', 'b']);
  });

  test('such a refusal blocks no route and causes no repeat of the batch before', async () => {
    const one = await limited({ requestsPerMinute: 1 });
    await ship(one.port, 'a', claim(1, 0, 'a'));
    const end = attemptEnd(await refusal(ship(one.port, 'b', claim(2, 1, 'b'))), false);
    assert.equal(end.is, 'failed');
    assert.deepEqual(end.is === 'failed' && [end.failure.counted, end.failure.resend], [
      false,
      false,
    ]);
    assert.equal(end.is === 'failed' && end.failure.error.code, 'RECEIVER_LIMIT');
  });

  test('data beyond the rate are read slower, which is not taken for idleness of the client', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 300, connections: 8 };
    const one = await limited({ bytesPerSecond: 256 * 1024 }, { limits });
    const data = 'x'.repeat(512 * 1024);
    const started = performance.now();
    await ship(one.port, data, claim(1, 0, data));
    // The first second's bytes may come at once. A slow machine makes this only longer.
    assert.ok(performance.now() - started > 900);
    assert.deepEqual(
      one.batches().map((batch) => batch.length),
      [data.length],
    );
  });

  test('an app that is far behind its rate is refused, and a stop ends what is held back', async () => {
    const one = await limited({ bytesPerSecond: 1024 });
    const slow = await open(one.port);
    slow.write(`${HEAD}${KEY}1000000\n${'x'.repeat(200_000)}`);
    await until('it is behind', async () => {
      const answer = await raw(one.port, [HEAD, KEY, '0\nT']);
      return /^HTTP\/1\.0 429 .*too-many-bytes/s.test(answer);
    });
    const closed = new Promise((resolve) => slow.once('close', resolve));
    await one.stop();
    await closed;
    assert.deepEqual(one.parts(), []);
  });

  for (const kind of ['announced', 'not announced'] as const) {
    test(`what would not fit into the room of the app is refused, its length ${kind}`, async () => {
      const dialect = kind === 'announced' ? 'acked' : 'eof';
      const one = await limited({ storedBytes: 10 }, { dialect });
      await ship(one.port, 'abcdef', claim(1, 0, 'abcdef'));
      const blob = kind === 'announced' ? 'p/q\n5\nabcdeT' : 'p/q\nabcde';
      const answer = await raw(one.port, [HEAD, KEY, blob], { halfClose: kind !== 'announced' });
      assert.match(answer, /^HTTP\/1\.0 507 Insufficient Storage\r\n.*app-full/s);
      const error = await refusal(ship(one.port, 'ghijk', claim(2, 1, 'ghijk')));
      assert.equal(error.code, 'RECEIVER_LIMIT');
      // What is held already needs no room.
      await ship(one.port, 'abcdef', claim(1, 0, 'abcdef'));
      assert.deepEqual(one.parts(), []);
      await ship(one.port, 'ghij', claim(2, 1, 'ghij'));
      assert.deepEqual(one.batches(), ['abcdef', 'ghij']);
      assert.deepEqual(readdirSync(join(one.folder(), 'blobs')), []);
    });
  }

  test('room that requests hold while they are on their way is given back when they end', async () => {
    const one = await limited({ storedBytes: 100_000 });
    const socket = await open(one.port);
    socket.write(`${HEAD}${KEY}80000\nabc`);
    await until('it is on its way', () => one.parts().length === 1);
    assert.equal((await refusal(ship(one.port, 'a'.repeat(30_000)))).code, 'RECEIVER_LIMIT');
    socket.end();
    await until('it is gone', () => one.parts().length === 0);
    const all = 'b'.repeat(100_000);
    await ship(one.port, all);
    assert.deepEqual(one.batches(), [all]);
  });

  test('batches that the operator has removed make room again', async () => {
    const one = await limited({ storedBytes: 10 });
    await ship(one.port, 'abcdefghij', claim(1, 0, 'abcdefghij'));
    await refusal(ship(one.port, 'k', claim(2, 1, 'k')));
    rmSync(join(one.folder(), 'batches/0000000001.batch'));
    // Measured at a start; while it runs, some seconds later.
    await one.stop();
    await one.start();
    await ship(one.port, 'k', claim(2, 1, 'k'));
    assert.deepEqual(readdirSync(join(one.folder(), 'batches')), ['0000000002.batch']);
  });
});
