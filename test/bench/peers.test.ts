import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Arrived, judge, LINE_BYTES, line } from '../../bench/peers/lines.js';

const WHOLE: Arrived = { lines: 4, lost: 0, duplicated: 0, reordered: 0, torn: 0 };

function of(...numbers: number[]): Buffer {
  return Buffer.concat(numbers.map(line));
}

/** What is not as it should be, of four lines that were written. */
function found(received: Buffer): Partial<Arrived> {
  const arrived = Object.entries(judge(received, 4));
  return Object.fromEntries(arrived.filter(([what, n]) => n !== WHOLE[what as keyof Arrived]));
}

describe('the judge of what arrived at a peer', () => {
  it('is content with all lines in order, and knows each line by its number', () => {
    assert.deepEqual(judge(of(1, 2, 3, 4), 4), WHOLE);
    assert.equal(line(123_456_789).length, LINE_BYTES);
    assert.notDeepEqual(line(1), line(2));
    assert.match(line(7).toString(), /^#7 [0-9a-f]+\n$/);
  });

  it('sees what is lost: at the beginning, in the middle, at the end, all of it', () => {
    assert.deepEqual(found(of(2, 3, 4)), { lines: 3, lost: 1 });
    assert.deepEqual(found(of(1, 4)), { lines: 2, lost: 2 });
    assert.deepEqual(found(of(1, 2, 3)), { lines: 3, lost: 1 });
    assert.deepEqual(found(of()), { lines: 0, lost: 4 });
  });

  it('sees what came twice, at once or later, one or many', () => {
    assert.deepEqual(found(of(1, 1, 2, 3, 4)), { duplicated: 1 });
    assert.deepEqual(found(of(1, 2, 3, 1, 2, 3, 4)), { duplicated: 3 });
    assert.deepEqual(found(of(1, 2, 3, 4, 2, 2)), { duplicated: 2 });
  });

  it('sees what came behind a later one, and does not call it lost or doubled', () => {
    assert.deepEqual(found(of(1, 3, 2, 4)), { reordered: 1 });
    assert.deepEqual(found(of(3, 4, 1, 2)), { reordered: 2 });
    assert.deepEqual(found(of(1, 3, 2, 2, 4)), { reordered: 1, duplicated: 1 });
  });

  it('sees torn lines: a half one, two that ran together, an end without its newline', () => {
    const half = of(2).subarray(0, 50);
    const torn = (...parts: Buffer[]): Partial<Arrived> => found(Buffer.concat(parts));
    assert.deepEqual(torn(of(1), half, of(3, 4)), { lines: 2, lost: 2, torn: 1 });
    assert.deepEqual(torn(of(1), of(2).subarray(50), of(3, 4)), { lines: 3, lost: 1, torn: 1 });
    assert.deepEqual(torn(of(1, 2, 3), of(4).subarray(0, -1)), { lines: 3, lost: 1, torn: 1 });
  });

  it('takes for torn what nobody wrote: other bytes under a number, a number beyond the last', () => {
    const other = of(2);
    other[100] = 'x'.charCodeAt(0);
    assert.deepEqual(found(Buffer.concat([of(1), other, of(3, 4)])), {
      lines: 3,
      lost: 1,
      torn: 1,
    });
    assert.deepEqual(found(of(1, 2, 3, 4, 5)), { torn: 1 });
  });
});
