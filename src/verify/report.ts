/** What `ferry verify` found: the contract of its `--json`. */

/** Something that does not hold. Exit code 1. */
export interface Difference {
  /** Stable, for scripts. */
  code: string;
  /** The routes that it concerns; at a receiver none. */
  routes: string[];
  /** At a receiver; null at a sender. */
  app: string | null;
  /** At a sender the batch's sequence, at a receiver its number there; null: no single batch. */
  sequence: number | null;
  what: string;
  /** What to do about it. */
  do: string;
}

/** Something that could not be looked at: it is neither proved nor disproved. */
export interface Unchecked {
  /** The route, journal or app; null: all of them. */
  about: string | null;
  what: string;
  do: string;
}

export interface Proof {
  version: 1;
  /** Nothing that was looked at differs. */
  ok: boolean;
  /** Everything could be looked at. */
  complete: boolean;
  differences: Difference[];
  /** Differences beyond those listed. */
  omitted: number;
  unchecked: Unchecked[];
}

/** A chain of digests as it is shown. */
export interface ShownChain {
  /** First and last batch that it covers; both 0 while it covers none. */
  since: number;
  through: number;
  /** 64 hex digits; null while it covers nothing. */
  head: string | null;
  /** For `--expect` at the other side; null while it covers nothing. */
  line: string | null;
}

export interface JournalProof {
  journal: string;
  stream: string;
  lastSequence: number;
  capturedBytes: number;
  /** Batches whose bytes were read and compared with their digests. */
  heldBatches: number;
  heldBytes: number;
  /** The same in the archive of delivered batches; null: it was left out. */
  archived: Count | null;
  /** Chain over everything captured; `since` above 1: an older version sealed what was before. */
  chainSince: number;
  chainHead: string | null;
}

export interface RouteProof {
  route: string;
  journal: string;
  destination: string;
  orphaned: boolean;
  /** Since the route began. Equal to the sum of the three below. */
  captured: Count;
  confirmed: Count;
  waiting: Count;
  skipped: Count;
  /** Over what is confirmed in this stream: what the receiver holds. */
  chain: ShownChain;
  /** Whether Redis says the same; null: could not be compared. */
  redisAgrees: boolean | null;
  /** Batches that the receiver of the `--expect` line is ahead; null: no such line. */
  expected: { ahead: number } | null;
}

export interface Count {
  batches: number;
  bytes: number;
}

export interface SentProof extends Proof {
  redis: { ok: boolean; error: string | null };
  journals: JournalProof[];
  routes: RouteProof[];
}

export interface StreamProof {
  /** Null: batches without identity (bin/ssl), in the order of their arrival. */
  stream: string | null;
  batches: number;
  bytes: number;
  lastSequence: number;
  chain: ShownChain;
  /** Batches that came behind the one of the `--expect` line; null: no such line. */
  expected: { ahead: number } | null;
}

export interface AppProof {
  app: string;
  batches: number;
  bytes: number;
  /** Removed on purpose after their use: their bytes cannot be looked at. */
  removed: number;
  /** Blobs that are recorded, and there. */
  blobs: number;
  streams: StreamProof[];
}

export interface ReceivedProof extends Proof {
  received: string;
  apps: AppProof[];
}
