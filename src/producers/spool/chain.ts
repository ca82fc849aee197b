/**
 * The chain of digests: one digest says what all batches up to one were, and in which order.
 *
 *     chain(n) = SHA-256( chain(n-1) || SHA-256 of batch n )      chain(0) = 32 zero bytes
 */
import { createHash } from 'node:crypto';

const START = Buffer.alloc(32);

/**
 * @param before chain of the batch before, 64 hex digits; '' for none
 * @param sha256 of the batch, 64 hex digits
 */
export function chained(before: string, sha256: string): string {
  const hash = createHash('sha256').update(before === '' ? START : Buffer.from(before, 'hex'));
  return hash.update(Buffer.from(sha256, 'hex')).digest('hex');
}
