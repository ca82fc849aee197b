import { createHash } from 'node:crypto';
import { sha256Of } from '../common/digest.js';
import { FerryError } from '../common/errors.js';
import type { BatchJob } from '../queue/jobs.js';

/** Its bytes went bad since the capture: they never get a commit byte, whatever is tried. */
export const PAYLOAD_DAMAGED = 'PAYLOAD_DAMAGED';

/**
 * The bytes of a batch, as they were captured: the last ones are held back until the digest of all
 * is that of the seal. A disk or a Redis that gives other bytes would be applied by a replica that
 * is not ours without anybody noticing.
 *
 * @throws FerryError PAYLOAD_DAMAGED instead of the last bytes. Another length is passed on: whoever
 *   sends knows what to say
 */
export async function* proven(
  batch: Pick<BatchJob, 'bytes' | 'sha256' | 'sequence'>,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    bytes += chunk.length;
    if (bytes === batch.bytes && hash.copy().digest('hex') !== batch.sha256) throw damaged(batch);
    yield chunk;
  }
}

/**
 * The same of a small batch, which is read in one go: not one byte of it is given out before all
 * of them are proven. The read begins at once, beside the handshake.
 *
 * @throws FerryError PAYLOAD_DAMAGED
 */
export async function* provenWhole(
  batch: Pick<BatchJob, 'bytes' | 'sha256' | 'sequence'>,
  read: Promise<Buffer>,
): AsyncGenerator<Uint8Array, void> {
  const whole = await read;
  if (whole.length === batch.bytes && sha256Of(whole) !== batch.sha256) throw damaged(batch);
  yield whole;
}

function damaged({ sequence }: Pick<BatchJob, 'sequence'>): FerryError {
  return new FerryError(PAYLOAD_DAMAGED, `the bytes of batch ${sequence} are not those captured`, {
    kind: 'storage',
    hint: 'ferry verify names what went bad: restore the file, or give the batch up and seed the replica again',
    context: { sequence },
  });
}
