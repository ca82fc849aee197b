/**
 * What a spool holds and promises. This file is the specification; `spool.ts` keeps it.
 *
 * Words about an operation:
 * - **durable**: when its promise resolves, the fact survives a power cut (one fdatasync, shared
 *   by all appends that wait for it at that moment).
 * - **not synced**: when its promise resolves, the fact survives a kill of the process, and a
 *   power cut may take it back. Only facts whose loss means "once more" are written like that.
 * - **atomic**: every operation is one record, there after a crash as a whole or not at all.
 *
 * When an operation's promise rejects with a storage error, memory is as it was before the call
 * and the next append first moves to a new segment whose checkpoint says so. Until that has
 * happened, a crash may still show the rejected record: nothing may be undone for it
 * (a copy deleted, say) before `sync()` has resolved.
 */

import type { Chain } from '../../common/chain.js';

/** Where the bytes of a batch lie. Never changes while the batch exists. */
export interface BatchLocation {
  /** File name inside the spool's directory: a segment (`.log`) or a file of its own (`.batch`). */
  readonly file: string;
  /** Offset of the first byte of payload in that file. */
  readonly offset: number;
}

/** A sealed batch. Immutable. */
export interface SpoolBatch {
  /** Dense from 1 in the order of capture. */
  readonly sequence: number;
  readonly bytes: number;
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  readonly sealedAtMs: number;
  readonly location: BatchLocation;
  /** The journal's inode at the seal. For people; comparisons go by content. */
  readonly inode: number;
  /** The boot in which it was sealed. */
  readonly bootId: string;
  /** Where its first byte stood in the journal: 0, except behind a leftover. */
  readonly journalOffset: number;
  /** The batch that filled the journal below `journalOffset`; 0 when that is 0. */
  readonly follows: number;
  /** The journal may be a hole below this offset (`flush.trimAbove`). 0: nothing was trimmed. */
  readonly trimmedBytes: number;
  /** Digest of this batch and of all before it, see `common/chain.ts`; absent: sealed by an old version. */
  readonly chain?: string;
}

/** What an operator said about a route. */
export interface Verdict {
  /**
   * `skip`: everything through `sequence` is given up; `acked` advances, `previous` does not.
   * With `drop` the whole route is: it is forgotten as soon as Redis has forgotten it.
   * `pause` / `resume`: sets and clears `paused`.
   * `replay`: delivered batches from `sequence` through `to` (payload: `bytes`) are to go out again,
   * those of them that were given up only if `named`. `replayed` ends that early.
   */
  readonly kind: 'skip' | 'pause' | 'resume' | 'replay' | 'replayed';
  readonly sequence?: number;
  readonly to?: number;
  readonly named?: readonly number[];
  readonly bytes?: number;
  readonly drop?: boolean;
  readonly reason?: string;
  /** Who said so, for the audit. */
  readonly by?: string;
  readonly atMs?: number;
}

/** A `skip` or `replay` that is true here, and may not be known yet in Redis and the audit log. */
export interface UnfinishedVerdict {
  readonly destination: string;
  readonly verdict: Verdict;
  /** The batches that it is about: a closed range. */
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  /** Of a single batch; null for several. */
  readonly sha256: string | null;
}

/** What the spool knows of one route of its journal. */
export interface RouteMark {
  readonly destination: string;
  /** First sequence that this route is to deliver. */
  readonly firstSequence: number;
  /** Everything up to here is confirmed or skipped. `firstSequence - 1` at first. Monotone. */
  readonly acked: number;
  /** Last sequence that Redis is known to have accepted, at least `acked`, or `replay.acked`. */
  readonly accepted: number;
  /** Redis generation, 0 before the first. */
  readonly generation: number;
  /** Last sequence *confirmed* in this stream (a skip leaves it); 0: none yet. */
  readonly previous: number;
  /** Last sequence confirmed in any stream; its payload is kept until the next is. 0: none. */
  readonly confirmed: number;
  /** No longer in the configuration; goes on being captured for. */
  readonly orphaned: boolean;
  readonly paused: boolean;
  /** First sequence that goes out under the present stream. */
  readonly streamFrom: number;
  /** A replay of delivered batches that is not finished, or null. */
  readonly replay: ReplayMark | null;
  /** Given up by the operator: closed ranges, ascending. */
  readonly skipped: readonly (readonly [from: number, to: number])[];
  /** Bytes captured before this route's first batch. */
  readonly baseBytes: number;
  readonly ackedBatches: number;
  readonly ackedBytes: number;
  readonly skippedBatches: number;
  readonly skippedBytes: number;
  readonly lastVerdict: Verdict | null;
  /** Over what this route has confirmed in this stream; its receiver ought to hold just that. */
  readonly chain: Chain;
}

/** Where a replay stands; see `replayState.ts`. */
export interface ReplayMark {
  readonly from: number;
  readonly to: number;
  /** Confirmed once more, or left out, through here. */
  readonly acked: number;
  /** Given-up batches that go out all the same. */
  readonly named: readonly number[];
  /** Payload that is still to be confirmed. */
  readonly bytesLeft: number;
}

/** A blob that some route has not confirmed yet. At most one per link name. */
export interface PendingBlob {
  /** Name of the symlink in the blob directory. */
  readonly link: string;
  /** Its text: the path on the wire. */
  readonly text: string;
  readonly version: number;
  /** Runnable once the route has passed this sequence. */
  readonly afterSequence: number;
  /** Destinations that have confirmed this version. */
  readonly confirmedBy: readonly string[];
}

/** A pre-copy whose prefix was released from the journal: the copy is the only one below it. */
export interface TrimMark {
  readonly sequence: number;
  /** Everything below is durable in the part file and may be a hole in the journal. */
  readonly bytes: number;
  readonly inode: number;
}

/** Everything that can be asked of a spool, by its producer or by a read-only process. */
export interface SpoolView {
  readonly journal: string;
  /** 32 lower-case hex digits. */
  readonly stream: string;
  /** First sequence that is sent under this stream id by the route that is furthest behind. */
  readonly streamSince: number;
  /** Last published sequence; 0: nothing captured yet. */
  readonly lastSequence: number;
  /** Of every batch ever captured. */
  readonly capturedBytes: number;
  /** Segments, batch files and a copy in the making. */
  readonly bytesOnDisk: number;
  /** Payload that some route has not confirmed. This is what `limits.spool` limits. */
  readonly waitingBytes: number;
  /** Every batch up to here is known to be gone from the journal for ever. */
  readonly settledThrough: number;
  /** The last `ftruncate` noted, believed only in that boot; null: none noted. */
  readonly truncated: { readonly sequence: number; readonly bootId: string } | null;
  readonly trimMark: TrimMark | null;
  /** Undefined: never captured, or no longer needed by anybody (its bytes may be gone). */
  batch(sequence: number): SpoolBatch | undefined;
  /** Ascending; only batches that are still held. Empty: nothing after `sequence`. */
  batchesAfter(sequence: number): Iterable<SpoolBatch>;
  /** Undefined: no such route. */
  route(destination: string): RouteMark | undefined;
  routes(): Iterable<RouteMark>;
  pendingBlobs(): Iterable<PendingBlob>;
  /** Oldest first. */
  unfinishedVerdicts(): Iterable<UnfinishedVerdict>;
  /** Everything from here on is needed by a replay; null: there is none. */
  readonly replayedFrom: number | null;
  /** Every held batch up to here is in the archive; null: there is none. */
  readonly archivedThrough: number | null;
  /** Head of the chain of digests; '' before the first batch. */
  readonly chainHead: string;
  /** The first batch that it covers: 1, or the first one sealed by a version that chains. */
  readonly chainSince: number;
  /** Confirmed on every route, not in the archive yet: at most `limit`, ascending. */
  unarchived(limit: number): SpoolBatch[];
  /**
   * Payload bytes and batches that this route has not confirmed, those of a replay included. The
   * oldest is that of what was never delivered.
   */
  waiting(destination: string): { batches: number; bytes: number; oldestSealedAtMs: number | null };
}

/** What the capture hands over for a seal. */
export interface SealRequest {
  /** `nextSequence`, or `nextSequence - 1` to supersede a seal that was not published. */
  readonly sequence: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly inode: number;
  readonly journalOffset?: number;
  readonly follows?: number;
  readonly trimmedBytes?: number;
  /** Inline payload of exactly `bytes` bytes; null: it lies, already durable, in the part file. */
  readonly payload: Buffer | null;
}
