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

/** The chain of what a route has confirmed: what its receiver ought to hold of this stream. */
export interface Chain {
  /** The first batch that it covers, or the first that may come while it covers nothing. */
  readonly since: number;
  /** The last one confirmed in this stream, as `previous`; 0: none. */
  readonly through: number;
  /** 64 hex digits; '' while it covers nothing. */
  readonly head: string;
}

/** One that covers nothing yet, behind what is confirmed or given up already. */
export function beginChain(since: number, through = 0): Chain {
  return { since, through, head: '' };
}

/** The chain with one more batch, the next that was confirmed. */
export function extended(chain: Chain, sequence: number, sha256: string): Chain {
  const since = chain.head === '' ? sequence : chain.since;
  return { since, through: sequence, head: chained(chain.head, sha256) };
}

/** `since:through:head`, as it stands in Redis, and behind the stream on a line for people. */
export function chainText({ since, through, head }: Chain): string {
  return `${since}:${through}:${head}`;
}

const TEXT = /^([1-9]\d*):(0|[1-9]\d*):([0-9a-f]{64}|)$/;

/** null: it is none. */
export function parseChain(text: string): Chain | null {
  const [, since, through, head] = TEXT.exec(text) ?? [];
  if (head === undefined) return null;
  return { since: Number(since), through: Number(through), head };
}
