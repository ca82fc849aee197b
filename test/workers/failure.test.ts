import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import { attemptEnd } from '../../src/workers/failure.js';

const failed = (code: string): ReturnType<typeof attemptEnd> =>
  attemptEnd(new FerryError(code, 'no', { kind: 'destination' }), false);

test('what every attempt at a destination would meet is told from what one blob met', () => {
  for (const code of ['CONNECTION_REFUSED', 'CERTIFICATE_INVALID', 'CLOSED_WITHOUT_ANSWER']) {
    const end = failed(code);
    assert.ok(end.is === 'failed' && end.isAway, code);
  }
  for (const code of ['HTTP_ANSWER', 'RECEIVER_LIMIT', 'BLOB_NOT_A_FILE', 'FALSE_ACK']) {
    const end = failed(code);
    assert.ok(end.is === 'failed' && !end.isAway, code);
  }
  const bug = attemptEnd(new Error('a bug'), false);
  assert.ok(bug.is === 'failed' && !bug.isAway);
});
