import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DestinationGate } from '../../src/workers/gate.js';

describe('the gate of a destination', () => {
  it('lets in as many as there are connections, and the next when one leaves', async () => {
    const gate = new DestinationGate(2);
    const first = await gate.enter();
    const second = await gate.enter();
    assert.ok(first.entered && second.entered);
    let third: Awaited<ReturnType<typeof gate.enter>> | undefined;
    const waiting = gate.enter().then((entrance) => {
      third = entrance;
    });
    await Promise.resolve();
    assert.equal(third, undefined);
    first.leave();
    first.leave(); // leaving twice frees one place only
    await waiting;
    assert.equal((third as { entered: boolean } | undefined)?.entered, true);
    let fourth = false;
    void gate.enter().then(() => {
      fourth = true;
    });
    await Promise.resolve();
    assert.equal(fourth, false);
  });

  it('sends away whom it cannot let wait, for longer and longer', async () => {
    const gate = new DestinationGate(1);
    const held = await gate.enter();
    assert.ok(held.entered);
    const waiting = [1, 2, 3, 4].map(() => gate.enter());
    const pauses: number[] = [];
    for (let i = 0; i < 12; i += 1) {
      const entrance = await gate.enter();
      assert.ok(!entrance.entered);
      pauses.push(entrance.ms);
    }
    assert.ok((pauses.at(-1) ?? 0) > 3_000, String(pauses));
    assert.ok((pauses[0] ?? 0) < 1_000, String(pauses));
    assert.equal(DestinationGate.slots(1), 1 + waiting.length);
    held.leave();
    for (const one of waiting) {
      const entrance = await one;
      assert.ok(entrance.entered);
      entrance.leave();
    }
  });
});
