import type { During } from './connection.js';
import { payloadMismatch } from './errors.js';

/** Waits for a payload's source under the deadline of what it is sent over. */
export interface PayloadWaiter {
  payload<T>(next: Promise<T>): Promise<During<T>>;
}

/**
 * A small payload in one buffer.
 *
 * @returns null when the far side said or ended something first
 * @throws FerryError PAYLOAD_MISMATCH when the source does not yield exactly `bytes`
 */
export async function gather(
  waiter: PayloadWaiter,
  source: AsyncIterator<Uint8Array>,
  bytes: number,
): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let gathered = 0;
  for (;;) {
    const step = await waiter.payload(source.next());
    if (!step.done) return null;
    if (step.value.done) break;
    gathered += step.value.value.length;
    if (gathered > bytes) throw payloadMismatch(bytes, 'longer');
    parts.push(Buffer.from(step.value.value));
  }
  if (gathered < bytes) throw payloadMismatch(bytes, `only ${gathered} bytes long`);
  return Buffer.concat(parts);
}
