import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { describe, test } from 'node:test';
import { Addresses } from '../../src/protocol/addresses.js';

const BOTH: LookupAddress[] = [
  { address: '::1', family: 6 },
  { address: '127.0.0.1', family: 4 },
];

function resolver() {
  const state = { asked: 0, now: 0, answer: BOTH as LookupAddress[] | null };
  const addresses = new Addresses(
    (_, __, callback) => {
      state.asked += 1;
      const { answer } = state;
      if (answer === null) callback(Object.assign(new Error('gone'), { code: 'ENOTFOUND' }), []);
      else callback(null, answer);
    },
    () => state.now,
  );
  const look = (host = 'replica'): Promise<string[]> =>
    new Promise((resolve, reject) => {
      addresses.lookup(host, { all: true }, (error, found) => {
        if (error) reject(error);
        else resolve((found as LookupAddress[]).map(({ address }) => address));
      });
    });
  return { state, addresses, look };
}

describe('addresses of a host', () => {
  test('are asked for once in a second, per host', async () => {
    const { state, look } = resolver();
    assert.deepEqual(await look(), ['::1', '127.0.0.1']);
    state.now = 999;
    assert.deepEqual(await look(), ['::1', '127.0.0.1']);
    await look('another');
    assert.equal(state.asked, 2);
    state.now = 1_000;
    state.answer = [{ address: '10.0.0.1', family: 4 }];
    assert.deepEqual(await look(), ['10.0.0.1']);
  });

  test('the one that was reached comes first, and all of them stay', async () => {
    const { addresses, look } = resolver();
    await look();
    addresses.reached('replica', '127.0.0.1');
    assert.deepEqual(await look(), ['127.0.0.1', '::1']);
    addresses.reached('replica', '127.0.0.1');
    addresses.reached('replica', '10.9.9.9');
    addresses.reached('replica', undefined);
    addresses.reached('unknown', '127.0.0.1');
    assert.deepEqual(await look(), ['127.0.0.1', '::1']);
  });

  test('a caller that changes its answer changes no other', async () => {
    const { addresses, look } = resolver();
    await look();
    addresses.lookup('replica', { all: true }, (_, found) => (found as LookupAddress[]).reverse());
    assert.deepEqual(await look(), ['::1', '127.0.0.1']);
  });

  test('are asked for again after a connection that failed', async () => {
    const { state, addresses, look } = resolver();
    await look();
    addresses.forget('replica');
    await look();
    assert.equal(state.asked, 2);
  });

  test('a resolver that fails is asked again', async () => {
    const { state, look } = resolver();
    state.answer = null;
    await assert.rejects(look(), { code: 'ENOTFOUND' });
    state.answer = BOTH;
    assert.equal((await look()).length, 2);
  });

  test('of a thousand hosts are remembered, not more', async () => {
    const { state, look } = resolver();
    for (let n = 0; n <= 1_024; n += 1) await look(`host${n}`);
    await look('host1024');
    assert.equal(state.asked, 1_025);
    await look('host0');
    assert.equal(state.asked, 1_026);
  });
});
