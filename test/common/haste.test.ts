import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Haste } from '../../src/common/haste.js';

/** A clock that is told how long each call takes, and what was done how. */
function haste() {
  let now = 1_000;
  const done: string[] = [];
  const one = new Haste(() => now);
  return {
    done,
    one,
    pass: (ms: number) => {
      now += ms;
    },
    call: (ms: number) =>
      one.run(
        () => {
          now += ms;
          done.push('at once');
          return ms;
        },
        async () => {
          done.push('patiently');
          return ms;
        },
      ),
  };
}

describe('haste', () => {
  it('does what is quick at once, and hands over its result', () => {
    const { call, done, one } = haste();
    assert.equal(call(0.01), 0.01);
    assert.equal(call(2), 2);
    assert.deepEqual(done, ['at once', 'at once']);
    assert.equal(one.isPatient, false);
  });

  it('goes through the thread pool for ten times the length of a long call', async () => {
    const { call, done, one, pass } = haste();
    call(30);
    assert.equal(one.isPatient, true);
    assert.equal(await call(0.01), 0.01);
    pass(299);
    await call(0.01);
    pass(1);
    assert.equal(one.isPatient, false);
    call(0.01);
    assert.deepEqual(done, ['at once', 'patiently', 'patiently', 'at once']);
  });

  it('stands still for a tenth of the time at most', async () => {
    const { call, done, pass } = haste();
    for (let i = 0; i < 1_000; i += 1) {
      await call(12);
      pass(1);
    }
    assert.ok(done.filter((how) => how === 'at once').length <= 11);
  });

  it('minds no single call that was short of the processor, but many of them', () => {
    const { call, one, pass } = haste();
    for (let i = 0; i < 100; i += 1) {
      call(3);
      pass(30);
      assert.equal(one.isPatient, false);
    }
    for (let i = 0; i < 4; i += 1) call(3);
    assert.equal(one.isPatient, true);
  });

  it('becomes patient by a long call that fails, and passes the error on', async () => {
    const { one, pass } = haste();
    const failing = () => {
      pass(15);
      throw new Error('no room');
    };
    assert.throws(() => one.run(failing, async () => 0), /no room/);
    assert.equal(one.isPatient, true);
    await assert.rejects(async () => one.run(failing, () => Promise.reject(new Error('later'))), {
      message: 'later',
    });
  });
});
