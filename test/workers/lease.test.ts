import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import { LEASE_MARGIN_MS, Lease } from '../../src/workers/lease.js';

/** A lease on a clock that only the test moves. */
function leaseAt(renew: () => Promise<boolean>, startedAt = 0) {
  let now = 0;
  const lease = new Lease({ leaseMs: 15_000, startedAt, renew, now: () => now });
  lease.hold();
  return {
    lease,
    async advance(ms: number): Promise<void> {
      now += ms;
      mock.timers.tick(ms);
      // Answers to `renew` are promises: let them settle before the clock goes on.
      for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
    },
    /** The process stood still: time passed, and no timer ran. */
    pause(ms: number): void {
      now += ms;
    },
  };
}

describe('a lease', () => {
  const withTimers = (name: string, test: () => Promise<void>) =>
    it(name, async () => {
      mock.timers.enable({ apis: ['setTimeout'] });
      try {
        await test();
      } finally {
        mock.timers.reset();
      }
    });

  withTimers('is renewed again and again while the send lasts', async () => {
    let renewals = 0;
    const { lease, advance } = leaseAt(() => {
      renewals += 1;
      return Promise.resolve(true);
    });
    for (let i = 0; i < 60; i += 1) await advance(1_000);
    assert.ok(renewals >= 11, `${renewals} renewals in a minute`);
    assert.ok(lease.isValid());
    lease.stop();
  });

  withTimers('is not renewed before Redis has given it', async () => {
    let renewals = 0;
    let now = 0;
    const lease = new Lease({
      leaseMs: 15_000,
      startedAt: 0,
      renew: () => {
        renewals += 1;
        return Promise.resolve(true);
      },
      now: () => now,
    });
    now += 6_000;
    mock.timers.tick(6_000);
    assert.equal(renewals, 0);
    lease.hold();
    now += 5_000;
    mock.timers.tick(5_000);
    assert.equal(renewals, 1);
    lease.stop();
    await Promise.resolve();
  });

  withTimers('ends at once when somebody else holds it', async () => {
    const { lease, advance } = leaseAt(() => Promise.resolve(false));
    await advance(5_000);
    assert.ok(lease.signal.aborted);
    assert.ok(lease.signal.reason instanceof FerryError);
    assert.equal(lease.signal.reason.code, 'LEASE_LOST');
    assert.equal(lease.isValid(), false);
  });

  withTimers('ends before its time when Redis does not answer', async () => {
    const { lease, advance } = leaseAt(() => new Promise(() => undefined));
    await advance(5_000);
    assert.ok(lease.isValid());
    await advance(15_000 - LEASE_MARGIN_MS - 5_000);
    assert.ok(lease.signal.aborted);
  });

  withTimers('outlives a Redis that is away for a moment', async () => {
    let away = true;
    const { lease, advance } = leaseAt(() =>
      away ? Promise.reject(new Error('away')) : Promise.resolve(true),
    );
    for (let i = 0; i < 16; i += 1) await advance(500);
    away = false;
    for (let i = 0; i < 20; i += 1) await advance(500);
    assert.ok(lease.isValid());
    lease.stop();
  });

  withTimers('counts from before it was asked for', async () => {
    const { lease } = leaseAt(() => Promise.resolve(true), -14_000);
    assert.equal(lease.isValid(), false, 'the answer took 14 of its 15 seconds');
    lease.stop();
  });

  withTimers('is over for a process that stood still, before any timer runs', async () => {
    const { lease, pause } = leaseAt(() => Promise.resolve(true));
    pause(60_000);
    assert.equal(lease.isValid(), false);
    lease.stop();
  });

  withTimers(
    'ends what is sent when the process stops, and stays valid for what is told',
    async () => {
      const { lease, advance } = leaseAt(() => Promise.resolve(true));
      lease.abort();
      assert.equal(lease.signal.aborted, true);
      assert.ok(!(lease.signal.reason instanceof FerryError));
      await advance(10_000);
      assert.equal(lease.isValid(), true);
      lease.stop();
    },
  );

  withTimers('that was given back ends nothing any more', async () => {
    const { lease } = leaseAt(() => Promise.resolve(true));
    lease.stop();
    lease.abort();
    assert.equal(lease.signal.aborted, false);
  });
});
