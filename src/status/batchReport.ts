/** Where a batch of a route stands, in the order of its life. */
export const BATCH_STATES = [
  /** In the spool only: it is fed to Redis when it comes nearer, or when Redis is back. */
  'waiting',
  /** In Redis, and waits for its turn. */
  'queued',
  'sending',
  /** The last attempt has failed; the next comes at the interval. */
  'retrying',
  /** `attempts` are used up. */
  'blocked',
  /** Confirmed; the spool still holds it, for other routes or until its successor is. */
  'delivered',
  /** Confirmed by every route, and kept for replay. */
  'archived',
  /** Given up by the operator. */
  'skipped',
] as const;

export type BatchState = (typeof BATCH_STATES)[number];

/** One batch of one route: the contract of `ferry batches --json`. */
export interface BatchStatus {
  route: string;
  journal: string;
  destination: string;
  sequence: number;
  state: BatchState;
  bytes: number;
  /** Null: of a batch that was given up, only its file is known. */
  sha256: string | null;
  stream: string | null;
  /** ISO 8601; null as above. */
  sealedAt: string | null;
  /** Since the seal. */
  ageMs: number | null;
  /** Failed attempts so far; of the head only. */
  attempts: number;
  /** `CODE: what happened: what to do`; of the head only. */
  lastError: string | null;
  lastErrorCode: string | null;
  /** What can be done about it; null where nothing need be. */
  hint: string | null;
}
