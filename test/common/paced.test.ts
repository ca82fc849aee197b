import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Paced } from '../../src/common/paced.js';
import { failOnLeaks } from '../support/leaks.js';

failOnLeaks();

describe('paced work', () => {
  it('is done one at a time, in order, with a pause of its share behind each', async () => {
    let now = 1_000;
    let pauses = 0;
    const begun: string[] = [];
    const paced = new Paced({ share: 0.1, pauseMaxMs: 20 }, () => now);
    const work = (name: string, ms: number) => async () => {
      begun.push(name);
      now += ms;
    };
    await paced.run(work('short', 1));
    const before = performance.now();
    await paced.run(work('long', 500));
    pauses = performance.now() - before;
    assert.deepEqual(begun, ['short', 'long']);
    assert.ok(pauses >= 8, `9 ms of pause behind 1 ms of work: ${pauses}`);
    now += 20;
    await paced.run(work('after a pause that is over', 0));
    assert.equal(begun.length, 3);
  });

  it('makes no pause while somebody waits', async () => {
    const paced = new Paced({ share: 0.000_001, pauseMaxMs: 3_600_000 });
    const done: number[] = [];
    await paced.run(async () => void done.push(0));
    const queued = [1, 2, 3].map((n) => paced.run(async () => void done.push(n)));
    await paced.run(async () => void done.push(4), true);
    await Promise.all(queued);
    assert.deepEqual(done, [0, 1, 2, 3, 4]);
  });

  it('goes on behind work that fails', async () => {
    const paced = new Paced({ share: 0.5, pauseMaxMs: 1 });
    await assert.rejects(
      paced.run(() => Promise.reject(new Error('no disk'))),
      { message: 'no disk' },
    );
    let done = false;
    await paced.run(async () => {
      done = true;
    });
    assert.ok(done);
  });
});
