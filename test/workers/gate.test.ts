import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Call, DestinationGate, type Entrance, type Lane } from '../../src/workers/gate.js';

/** One of several destinations. */
function gateOf(connections: number, call: Call = () => Promise.resolve()): DestinationGate {
  return new DestinationGate(connections, { alone: false, call });
}

describe('the gate of a destination', () => {
  it('lets in as many as there are connections, and the next when one leaves', async () => {
    const gate = gateOf(2);
    const first = await gate.enter('batch', 'a');
    const second = await gate.enter('blob', 'b');
    assert.ok(first.entered && second.entered);
    let third: Entrance | undefined;
    const waiting = gate.enter('batch', 'c').then((entrance) => {
      third = entrance;
    });
    await Promise.resolve();
    assert.equal(third, undefined);
    first.place.leave();
    first.place.leave(); // leaving twice frees one place only
    await waiting;
    assert.equal((third as Entrance | undefined)?.entered, true);
    let fourth = false;
    void gate.enter('batch', 'd').then(() => {
      fourth = true;
    });
    await Promise.resolve();
    assert.equal(fourth, false);
  });

  it('lets a batch in before the blobs that wait longer, however many they are', async () => {
    const gate = gateOf(1);
    const held = await gate.enter('blob', 'held');
    const order: string[] = [];
    const entering = async (lane: Lane): Promise<Entrance> => {
      const entrance = await gate.enter(lane, `${lane} ${order.length}`);
      order.push(lane);
      return entrance;
    };
    const blobs = [1, 2, 3, 4].map(() => entering('blob'));
    const refused = await gate.enter('blob', 'one too many');
    assert.equal(refused.entered, false);
    const batch = entering('batch');
    assert.ok(held.entered);
    held.place.leave();
    for (const next of [batch, ...blobs]) {
      const entrance = await next;
      assert.ok(entrance.entered);
      entrance.place.leave();
    }
    assert.deepEqual(order, ['batch', 'blob', 'blob', 'blob', 'blob']);
  });

  it('spreads thousands that it turns away', async () => {
    const gate = gateOf(1);
    await fill(gate, 'batch', 5);
    const pauses: number[] = [];
    for (let i = 0; i < 5_000; i += 1) {
      const entrance = await gate.enter('batch', `t${i}`);
      assert.ok(!entrance.entered);
      pauses.push(entrance.ms);
    }
    assert.ok((pauses[0] ?? 0) <= 150, `first after ${pauses[0]}`);
    assert.ok((pauses.at(-1) ?? 0) > 25_000, `last after ${pauses.at(-1)}`);
    assert.ok(pauses.every((ms) => ms <= 30_001));
  });

  it('calls those who sleep as fast as places become free, in the order in which they came', async () => {
    // A thousand blobs for a quick destination took ten seconds: each had been told a time at
    // which it could come back, 10 ms behind the one before, and the places stood empty.
    const queue: string[] = [];
    const gate = gateOf(2, async (lane, id) => {
      assert.equal(lane, 'blob');
      queue.push(id);
    });
    const ids = Array.from({ length: 200 }, (_, n) => `b${n}`);
    const done: string[] = [];
    const run = async (id: string): Promise<void> => {
      const entrance = await gate.enter('blob', id);
      if (!entrance.entered) return gate.sleeps('blob', id);
      await nextTurn();
      done.push(id);
      entrance.place.leave();
    };
    await Promise.all(ids.map(run));
    while (queue.length > 0) await Promise.all(queue.splice(0).map(run));
    assert.deepEqual(done, ids);
  });

  it('keeps everyone waiting where no other destination needs the slots', async () => {
    const gate = new DestinationGate(1, { alone: true, call: () => Promise.resolve() });
    const order: number[] = [];
    const all = Array.from({ length: 100 }, async (_, n) => {
      const entrance = await gate.enter('batch', `b${n}`);
      assert.ok(entrance.entered);
      order.push(n);
      entrance.place.leave();
    });
    await Promise.all(all);
    assert.deepEqual(
      order,
      Array.from({ length: 100 }, (_, n) => n),
    );
  });

  it('calls no more than there is room for among the waiters', async () => {
    const called: string[] = [];
    const gate = gateOf(1, async (_, id) => {
      called.push(id);
    });
    const [first, second] = await fill(gate, 'batch', 5);
    for (const id of ['s1', 's2', 's3']) {
      assert.equal((await gate.enter('batch', id)).entered, false);
      gate.sleeps('batch', id);
    }
    assert.deepEqual(called, []);
    await leave(first);
    assert.deepEqual(called, ['s1']);
    void gate.enter('batch', 's1'); // and waits now
    await leave(second);
    assert.deepEqual(called, ['s1', 's2']);
  });

  it('waits for no one who was called and went elsewhere', async (t) => {
    let now = 0;
    t.mock.method(performance, 'now', () => now);
    const called: string[] = [];
    const gate = gateOf(1, async (_, id) => {
      called.push(id);
    });
    const inside = await fill(gate, 'batch', 5);
    for (const id of ['s1', 's2', 's3', 's4', 's5', 's6']) {
      await gate.enter('batch', id);
      gate.sleeps('batch', id);
    }
    for (const entrance of inside.slice(0, 4)) await leave(entrance);
    assert.deepEqual(called, ['s1', 's2', 's3', 's4']); // another worker took them all
    now += 1_001;
    await leave(inside[4]);
    assert.deepEqual(called, ['s1', 's2', 's3', 's4', 's5', 's6']);
  });

  it('keeps blobs away from a destination that could not be reached, and batches not', async (t) => {
    let now = 0;
    t.mock.method(performance, 'now', () => now);
    const called: string[] = [];
    const gate = new DestinationGate(2, {
      alone: true,
      call: async (_, id) => {
        called.push(id);
      },
    });
    const failing = await gate.enter('blob', 'failing');
    const other = await gate.enter('batch', 'other');
    assert.ok(failing.entered && other.entered);
    const waiting = ['w1', 'w2', 'w3'].map((id) => gate.enter('blob', id));
    const batch = gate.enter('batch', 'batch');
    failing.place.unreached();
    for (const entering of waiting) assert.equal((await entering).entered, false);
    for (const id of ['w1', 'w2', 'w3']) gate.sleeps('blob', id);
    failing.place.leave();
    other.place.leave();
    const handedOver = await batch;
    assert.ok(handedOver.entered);
    const free = await gate.enter('batch', 'free');
    assert.ok(free.entered, 'batches try all the same');
    free.place.leave();
    const late = await gate.enter('blob', 'late');
    assert.ok(!late.entered && late.ms >= 1_000, 'and does not come back before');
    gate.sleeps('blob', 'late');
    assert.deepEqual(called, [], 'nobody is called to a destination that is away');
    now += 1_001;
    // It sleeps its interval as it would by itself, and is the first to try again.
    const again = await gate.enter('blob', 'failing');
    assert.ok(again.entered);
    assert.deepEqual(called, []);
    again.place.leave();
    assert.deepEqual(called, ['w1', 'w2', 'w3', 'late']);
  });

  it('is not shut by one connection that failed while others got through', async (t) => {
    let now = 0;
    t.mock.method(performance, 'now', () => now);
    const gate = gateOf(2);
    const unlucky = await gate.enter('blob', 'unlucky');
    const lucky = await gate.enter('batch', 'lucky');
    assert.ok(unlucky.entered && lucky.entered);
    now += 5;
    lucky.place.reached();
    lucky.place.leave();
    unlucky.place.unreached();
    unlucky.place.leave();
    now += 5;
    const next = await gate.enter('blob', 'next');
    assert.ok(next.entered);
    next.place.unreached();
    next.place.leave();
    assert.equal((await gate.enter('blob', 'shut out')).entered, false);
    const batch = await gate.enter('batch', 'batch');
    assert.ok(batch.entered);
    batch.place.reached();
    batch.place.leave();
    assert.equal((await gate.enter('blob', 'let in')).entered, true);
  });

  it('calls at once who begins to sleep when all the others have left', async () => {
    const called: string[] = [];
    const gate = gateOf(1, async (_, id) => {
      called.push(id);
    });
    const inside = await fill(gate, 'blob', 5);
    assert.equal((await gate.enter('blob', 'late')).entered, false);
    for (const entrance of inside) await leave(entrance);
    gate.sleeps('blob', 'late');
    assert.deepEqual(called, ['late']);
  });
});

/** One inside and the others waiting: what each of them will be told. */
async function fill(
  gate: DestinationGate,
  lane: Lane,
  count: number,
): Promise<Promise<Entrance>[]> {
  const all = Array.from({ length: count }, (_, n) => gate.enter(lane, `f${n}`));
  await Promise.resolve();
  return all;
}

async function leave(entering: Promise<Entrance> | undefined): Promise<void> {
  const entrance = await entering;
  assert.ok(entrance?.entered);
  entrance.place.leave();
}
