import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DestinationGate, type Entrance } from '../../src/workers/gate.js';

describe('the gate of a destination', () => {
  it('lets in as many as there are connections, and the next when one leaves', async () => {
    const gate = new DestinationGate(2);
    const first = await gate.enter('batch');
    const second = await gate.enter('blob');
    assert.ok(first.entered && second.entered);
    let third: Entrance | undefined;
    const waiting = gate.enter('batch').then((entrance) => {
      third = entrance;
    });
    await Promise.resolve();
    assert.equal(third, undefined);
    first.leave();
    first.leave(); // leaving twice frees one place only
    await waiting;
    assert.equal((third as Entrance | undefined)?.entered, true);
    let fourth = false;
    void gate.enter('batch').then(() => {
      fourth = true;
    });
    await Promise.resolve();
    assert.equal(fourth, false);
  });

  it('lets a batch in before the blobs that wait longer, however many they are', async () => {
    const gate = new DestinationGate(1);
    const held = await gate.enter('blob');
    const order: string[] = [];
    const entering = async (lane: 'batch' | 'blob'): Promise<Entrance> => {
      const entrance = await gate.enter(lane);
      order.push(lane);
      return entrance;
    };
    const blobs = [1, 2, 3, 4].map(() => entering('blob'));
    const refused = await gate.enter('blob');
    assert.equal(refused.entered, false);
    const batch = entering('batch');
    assert.ok(held.entered);
    held.leave();
    for (const next of [batch, ...blobs]) {
      const entrance = await next;
      assert.ok(entrance.entered);
      entrance.leave();
    }
    assert.deepEqual(order, ['batch', 'blob', 'blob', 'blob', 'blob']);
  });

  it('spreads thousands that it turns away', async () => {
    const gate = new DestinationGate(1);
    await gate.enter('batch');
    for (let i = 0; i < DestinationGate.slots(1) - 1; i += 1) void gate.enter('batch');
    const pauses: number[] = [];
    for (let i = 0; i < 5_000; i += 1) {
      const entrance = await gate.enter('batch');
      assert.ok(!entrance.entered);
      pauses.push(entrance.ms);
    }
    assert.ok((pauses[0] ?? 0) <= 150, `first after ${pauses[0]}`);
    assert.ok((pauses.at(-1) ?? 0) > 25_000, `last after ${pauses.at(-1)}`);
    assert.ok(pauses.every((ms) => ms <= 30_001));
  });
});
