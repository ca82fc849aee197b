import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Complaints, SAY_AGAIN_MS } from '../../src/workers/complaints.js';

// A destination that was dead for a week was a line per attempt: 30,240 of them per route.
it('a standing trouble is said once, then each hour, and its end once', () => {
  let now = 0;
  const complaints = new Complaints(() => now);
  assert.equal(complaints.isOver('foo@replica'), false);
  let said = 0;
  const attempts = 1_000;
  for (let n = 0; n < attempts; n += 1) {
    if (complaints.isNews('foo@replica', 'CONNECTION_REFUSED')) said += 1;
    now += SAY_AGAIN_MS / 100;
  }
  assert.equal(said, attempts / 100);
  assert.equal(complaints.isOver('foo@replica'), true);
  assert.equal(complaints.isOver('foo@replica'), false);
  assert.equal(complaints.isNews('foo@replica', 'CONNECTION_REFUSED'), true, 'new trouble');
});

it('troubles that take turns, and routes, are said one by one', () => {
  const complaints = new Complaints(() => 0);
  const said = ['A', 'B', 'A', 'B', 'A'].map((code) => complaints.isNews('foo@replica', code));
  assert.deepEqual(said, [true, true, false, false, false]);
  assert.equal(complaints.isNews('bar@replica', 'A'), true);
});
