import assert from 'node:assert/strict';
import { connect as connectH2 } from 'node:http2';
import { afterEach, describe, test } from 'node:test';
import { bodyDeadlineMs } from '../../src/receiver/bodyDeadline.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { HEAD, KEY, open, TestReceiver } from './harness.js';

failOnLeaks();

const BYTES = 1_000_000;
/** Well inside the idle limit of the tests' receivers. */
const BYTE_EACH_MS = 30;
const BODY_MS = 400;

const running: TestReceiver[] = [];
async function impatient(): Promise<TestReceiver> {
  const one = await new TestReceiver().start(undefined, {
    bodyDeadlineMs: (bytes) => (bytes === BYTES ? BODY_MS : bodyDeadlineMs(bytes)),
  });
  running.push(one);
  return one;
}
afterEach(() => Promise.all(running.splice(0).map((one) => one.stop())));

describe('a body that is given a byte now and then, and so is never idle', () => {
  test('is over when its time is, on the old wire', async () => {
    const one = await impatient();
    const socket = await open(one.port);
    socket.write(`${HEAD}${KEY}${BYTES}\n`);
    const drip = setInterval(() => socket.write('x'), BYTE_EACH_MS);
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
    clearInterval(drip);
    await until('nothing of it is left', () => one.parts().length === 0);
    assert.deepEqual(one.batches(), []);
  });

  test('is over when its time is, over HTTP/2, and its connection lives on', async () => {
    const one = await impatient();
    const session = connectH2(`https://localhost:${one.port}`, { rejectUnauthorized: false });
    const headers = {
      ':method': 'POST',
      ':path': '/foo.r',
      authorization: `Bearer ${KEY.trimEnd()}`,
    };
    const stream = session.request({ ...headers, 'content-length': BYTES });
    stream.on('error', () => undefined);
    const drip = setInterval(() => {
      if (!stream.destroyed) stream.write('x');
    }, BYTE_EACH_MS);
    const status = await new Promise((resolve) =>
      stream.once('response', (answer) => resolve(answer[':status'])),
    );
    clearInterval(drip);
    assert.equal(status, 408);
    const next = session.request({ ...headers, 'content-length': 3 });
    next.end('abc');
    const stored = await new Promise((resolve) =>
      next.once('response', (answer) => resolve(answer[':status'])),
    );
    assert.equal(stored, 204);
    session.destroy();
    await until('nothing of it is left', () => one.parts().length === 0);
    assert.deepEqual(one.batches(), ['abc']);
  });
});

test('the time for a body grows with what was announced, and a timer can hold it', () => {
  const [small = 0, large = 0, huge = 0] = [1, 1e9, Number.MAX_SAFE_INTEGER].map(bodyDeadlineMs);
  assert.ok(small >= 600_000 && large >= small + 1e6 - 1);
  assert.equal(huge, 2 ** 31 - 1);
  assert.ok(bodyDeadlineMs(null) > small);
});
