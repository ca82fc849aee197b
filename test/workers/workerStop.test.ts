import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { WorkerStop } from '../../src/workers/workerStop.js';

describe('the stop of a worker', () => {
  it('lets what is under way finish for 4 s, then ends it, and what begins after that', () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      const stop = new WorkerStop();
      const ended: string[] = [];
      stop.enter(() => ended.push('early'))();
      const leave = stop.enter(() => ended.push('inside'));
      assert.deepEqual([stop.stopping, stop.isBusy], [false, true]);
      stop.begin();
      assert.equal(stop.stopping, true);
      mock.timers.tick(3_999);
      assert.equal(ended.join(), '');
      mock.timers.tick(1);
      assert.equal(ended.join(), 'inside');
      const leaveLate = stop.enter(() => ended.push('late'));
      assert.equal(ended.join(), 'inside,late');
      leave();
      assert.equal(stop.isBusy, true);
      leaveLate();
      assert.equal(stop.isBusy, false);
    } finally {
      mock.timers.reset();
    }
  });

  it('ends nothing when all have left in time', () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      const stop = new WorkerStop();
      const ended: string[] = [];
      const leave = stop.enter(() => ended.push('inside'));
      stop.begin();
      leave();
      mock.timers.tick(10_000);
      assert.equal(ended.join(), '');
    } finally {
      mock.timers.reset();
    }
  });
});
