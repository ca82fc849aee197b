import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import { attemptEnd } from '../../src/workers/failure.js';
import { proven, provenWhole } from '../../src/workers/provenPayload.js';

const content = randomBytes(10_000);
const batch = {
  sequence: 7,
  bytes: content.length,
  sha256: createHash('sha256').update(content).digest('hex'),
};

async function* inChunks(bytes: Buffer, size = 3_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** What whoever sends gets to see, and how it ends. */
async function seen(bytes: Buffer): Promise<{ parts: Buffer; error: unknown }> {
  const parts: Uint8Array[] = [];
  try {
    for await (const chunk of proven(batch, inChunks(bytes))) parts.push(chunk);
    return { parts: Buffer.concat(parts), error: null };
  } catch (error) {
    return { parts: Buffer.concat(parts), error };
  }
}

test('the bytes of a batch pass when they are those that were captured', async () => {
  assert.deepEqual(await seen(content), { parts: content, error: null });
});

test('of others the last ones are held back, wherever the wrong one stands', async () => {
  for (const at of [0, 5_000, 9_999]) {
    const changed = Buffer.from(content);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const { parts, error } = await seen(changed);
    assert.equal(parts.length, 9_000);
    assert.ok(error instanceof FerryError && error.code === 'PAYLOAD_DAMAGED');
    const end = attemptEnd(error, false);
    assert.ok(end.is === 'failed' && end.failure.counted && !end.failure.resend);
  }
});

test('another length is left to whoever sends', async () => {
  const short = content.subarray(0, 9_999);
  assert.deepEqual(await seen(short), { parts: short, error: null });
  const long = Buffer.concat([content, Buffer.from('x')]);
  assert.deepEqual(await seen(long), { parts: long, error: null });
});

test('of a small batch not one byte is given out before all of them are proven', async () => {
  const good = await provenWhole(batch, Promise.resolve(content)).next();
  assert.deepEqual(good, { done: false, value: content });
  for (const at of [0, 5_000, 9_999]) {
    const changed = Buffer.from(content);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assert.rejects(provenWhole(batch, Promise.resolve(changed)).next(), {
      code: 'PAYLOAD_DAMAGED',
    });
  }
  const short = content.subarray(0, 9_999);
  assert.deepEqual((await provenWhole(batch, Promise.resolve(short)).next()).value, short);
});
