/** One route as an operator sees it: the contract of `ferry status --json`. */
export interface RouteStatus {
  /** `<journal>@<destination>` */
  route: string;
  journal: string;
  destination: string;
  state: 'idle' | 'sending' | 'retrying' | 'blocked' | 'paused' | 'orphaned';
  /** Next sequence to deliver. */
  head: number;
  /** Last sequence captured. */
  tail: number;
  /** In Redis and spool together. */
  pendingBatches: number;
  pendingBytes: number;
  /** Since the seal of the oldest pending batch. */
  oldestAgeMs: number;
  /** Bytes that are still in the journal. */
  journalBytes: number;
  pendingBlobs: number;
  /** Failed attempts of the head so far. */
  attempts: number;
  /** `CODE: what happened: what to do`; null when the last attempt was confirmed. */
  lastError: string | null;
  /** The same error's stable code. */
  lastErrorCode: string | null;
  /** When it happened, ISO 8601. */
  lastErrorAt: string | null;
  deliveredBatches: number;
  deliveredBytes: number;
  /** Given up by the operator. */
  skippedBatches: number;
  skippedBytes: number;
  /** Sends that may have been repeats. */
  duplicatesPossible: number;
  /** Delivered batches that go out once more; null: none do. */
  replay: { from: number; to: number; batchesLeft: number; bytesLeft: number } | null;
  /** Oldest delivered batch of the journal from which on the archive has all; null: it has none. */
  archivedFrom: number | null;
  /** Payload of these. */
  archivedBytes: number;
}

/** One app of a receiver. */
export interface ReceiverAppStatus {
  app: string;
  /** Number of the last batch that is stored. */
  storedBatches: number;
  /** Number of the last batch that the apply command has done; null: there is no command. */
  appliedBatches: number | null;
  /** Stored and not applied; 0 without a command. */
  waitingBatches: number;
  waitingBytes: number;
  /** Since the oldest one that waits was received. */
  oldestAgeMs: number;
  /** Failures in a row of the command at the batch where it is. */
  attempts: number;
  /** `CODE: what happened: what to do`; null when the command gets on. */
  lastError: string | null;
  lastErrorCode: string | null;
  /** ISO 8601. */
  lastErrorAt: string | null;
}

export interface ReceiverStatus {
  /** Whether a receiver has the data folder now; null: that cannot be seen here. */
  running: boolean | null;
  apps: ReceiverAppStatus[];
}

export interface StatusReport {
  version: 1;
  redis: { ok: boolean; durability: string | null; error: string | null };
  routes: RouteStatus[];
  /** Absent where the configuration names no receiver. */
  receiver?: ReceiverStatus;
}
