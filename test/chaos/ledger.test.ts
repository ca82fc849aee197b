import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FAULTS, Findings } from '../../chaos/findings.js';
import { Ledger, type Send } from '../../chaos/ledger.js';
import { compareOrder, record, scan } from '../../chaos/records.js';

const LEASE_MS = 15_000;
let now = 0;

/** One batch of one record; a second per batch, unless `at` says otherwise. */
function send(sequence: number, at: Partial<Send> = {}): Send {
  now += 1_000;
  return {
    journal: 'j',
    connection: now,
    stream: 'a',
    sequence,
    previous: sequence - 1,
    sha256: String(sequence),
    bytes: 1,
    runs: [{ first: sequence, last: sequence }],
    connectedAt: now,
    startedAt: now,
    tAt: now + 100,
    endAt: now + 200,
    ...at,
  };
}

function ledger(): { ledger: Ledger; take(...sends: Send[]): void; found(): string[] } {
  const findings = new Findings(() => undefined);
  const one = new Ledger(findings, ['j']);
  return {
    ledger: one,
    take(...sends) {
      for (const each of sends) {
        one.arrived(each);
        one.count(each);
      }
    },
    found: () => FAULTS.filter((fault) => findings.count(fault) > 0),
  };
}

describe('the ledger of sends', () => {
  it('allows the next one and a repeat directly after itself', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(2), send(2), send(3));
    one.check(new Map([['j', 3]]));
    assert.deepEqual(found(), []);
    assert.equal(one.repeats, 1);
    assert.equal(one.countedRecords('j'), 3);
  });

  it('allows everything again from some batch on, once after a loss of Redis', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(2), send(3));
    one.redisLost().at = now;
    now += LEASE_MS;
    take(send(2));
    assert.equal(one.countedRecords('j'), 0, 'not everything is there again');
    take(send(3), send(4));
    one.check(new Map([['j', 4]]));
    assert.deepEqual(found(), []);
    assert.equal(one.rewinds, 1);
    take(send(2));
    assert.deepEqual(found(), ['badRepeats']);
  });

  it('does not allow it long after a loss, when the route has gone on', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(2));
    one.redisLost().at = now;
    now += LEASE_MS;
    take(send(3), send(2));
    assert.deepEqual(found(), ['badRepeats']);
  });

  it('allows one step back after an outage that came after the last T', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(2), send(3));
    one.destinationDown(now);
    one.destinationUp(now + 500);
    take(send(2), send(2), send(3), send(4));
    one.check(new Map([['j', 4]]));
    assert.deepEqual(found(), []);
    assert.deepEqual([one.stepsBack, one.repeats], [1, 1]);
    take(send(3));
    assert.deepEqual(found(), ['badRepeats'], 'an outage explains one step');
  });

  it('allows no step back for an outage from before, nor more than one batch', () => {
    const before = ledger();
    before.take(send(1));
    before.ledger.destinationDown(now);
    before.ledger.destinationUp(now);
    before.take(send(2), send(1));
    assert.deepEqual(before.found(), ['badRepeats']);
    const two = ledger();
    two.take(send(1), send(2), send(3));
    two.ledger.destinationDown(now);
    two.take(send(1));
    assert.deepEqual(two.found(), ['badRepeats']);
  });

  it('finds a step back that does not go on with the same batch', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(2), send(3));
    one.destinationDown(now);
    take(send(2), send(4));
    assert.deepEqual(found(), ['reordered']);
  });

  it('misses what is left out when everything is sent again', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(2), send(3));
    one.redisLost().at = now;
    now += LEASE_MS;
    take(send(1), send(3));
    assert.deepEqual(found(), ['reordered']);
  });

  it('finds a replay that ends too early', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(2), send(3));
    one.redisLost().at = now;
    now += LEASE_MS;
    take(send(1));
    one.check(new Map([['j', 3]]));
    assert.deepEqual(found(), ['reordered']);
  });

  it('finds a batch before its predecessor', () => {
    const { take, found } = ledger();
    take(send(1), send(3));
    assert.deepEqual(found(), ['reordered']);
  });

  it('finds a T of a batch whose successor was counted since it began', () => {
    const { take, found } = ledger();
    const connectedAt = now;
    take(send(1), send(2), send(3), send(2, { connectedAt }));
    assert.deepEqual(found(), ['stale']);
  });

  it('finds two sends under way at once', () => {
    const { take, found } = ledger();
    take(send(1, { startedAt: 10, tAt: 30 }), send(1, { startedAt: 20, tAt: 40 }));
    assert.deepEqual(found(), ['overlaps']);
  });

  it('finds another content under a known number, lost and doubled records', () => {
    const { ledger: one, take, found } = ledger();
    take(send(1), send(1, { sha256: 'x' }), send(2, { runs: [{ first: 1, last: 1 }] }));
    one.check(new Map([['j', 2]]));
    assert.deepEqual(found(), ['lost', 'duplicated', 'torn']);
  });
});

describe('numbered records', () => {
  it('are told apart when lost, doubled, torn, out of order', () => {
    const all = [1, 2, 3, 4].map((number) => record('j', number));
    const of = (...numbers: number[]): Buffer =>
      Buffer.concat(numbers.map((number) => all[number - 1] ?? Buffer.alloc(0)));
    assert.deepEqual(scan('j', of(1, 2, 3)), { runs: [{ first: 1, last: 3 }], torn: [] });
    assert.deepEqual(scan('j', of(1, 3, 2)).runs, [
      { first: 1, last: 1 },
      { first: 3, last: 3 },
      { first: 2, last: 2 },
    ]);
    const torn = scan('j', Buffer.concat([of(1), of(2).subarray(5), of(3)]));
    assert.equal(torn.torn.length, 1);
    assert.deepEqual(torn.runs.at(-1), { first: 3, last: 3 });
    assert.equal(scan('j', of(1, 2).subarray(0, -1)).torn.length, 1);
    const runs = [
      { first: 1, last: 2 },
      { first: 2, last: 2 },
      { first: 5, last: 5 },
      { first: 4, last: 4 },
    ];
    assert.deepEqual(compareOrder(runs, 6), { duplicated: [2], reordered: [4], lost: [3, 6] });
  });
});
