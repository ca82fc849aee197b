/**
 * A body must come within 10 min and what this rate allows beyond: one that is given a byte now and
 * then keeps inside the idle limit for ever. Higher: an honest sender on a bad line is cut off.
 */
const BODY_DEADLINE_MS = 600_000;
const BODY_BYTES_PER_MS = 1;

/** Without an announced length (a blob of the `eof` dialect): a day. */
const UNANNOUNCED_MS = 86_400_000;

const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Milliseconds from a body's announcement to its end. @param bytes as announced; null: nothing was */
export type BodyDeadline = (bytes: number | null) => number;

export function bodyDeadlineMs(bytes: number | null): number {
  if (bytes === null) return UNANNOUNCED_MS;
  return Math.min(MAX_TIMEOUT_MS, BODY_DEADLINE_MS + bytes / BODY_BYTES_PER_MS);
}
