import type { Chain } from '../common/chain.js';
import type { BatchJob } from './jobs.js';
import type { RouteError } from './routeState.js';

/** What is asked of the scripts of `RouteOrder`, and what they answer; their headers say when. */

export type Answer<Name extends string, Fields = unknown> = { is: Name } & Fields;

export type OpenAnswer =
  | Answer<'open', { head: number; tail: number }>
  | Answer<'differs', { stream: string; generation: string }>;

export type AcceptAnswer =
  | Answer<'accepted' | 'duplicate', { head: number }>
  | Answer<'closed' | 'foreign' | 'conflict'>
  | Answer<'gap', { tail: number }>;

export type BeginAnswer =
  | Answer<
      'go',
      {
        epoch: number;
        previous: number;
        attempts: number;
        /** The batch confirmed last, when it must be confirmed once more before this one. */
        repeat: { job: BatchJob; previous: number } | null;
        /** Of what is confirmed on the route; null: a version without chains had it in between. */
        chain: Chain | null;
      }
    >
  | Answer<'closed' | 'stale' | 'delivered' | 'park'>
  | Answer<'wait', { ms: number }>;

export type FailAnswer =
  | Answer<'retry', { attempts: number; intervalMs: number }>
  | Answer<'blocked', { attempts: number }>
  | Answer<'stale'>;

export type AckAnswer =
  | Answer<'acked', { head: number; tail: number; blobs: string[] }>
  | Answer<'stale', { head: number }>;

export type SkipAnswer =
  | Answer<
      'skipped',
      {
        head: number;
        tail: number;
        /** It was confirmed before Redis heard of this. */
        confirmed: boolean;
        blobs: string[];
      }
    >
  | Answer<'wait', { ms: number }>
  | Answer<'behind', { head: number }>
  | Answer<'stale'>;

export type BeginBlobAnswer =
  | Answer<'go', { intervalMs: number }>
  | Answer<'closed' | 'stale' | 'delivered' | 'park'>
  | Answer<'wait', { ms: number }>;

export interface OpenRequest {
  route: string;
  stream: string;
  generation: number;
  /**
   * Before the first begin: a lease from before a loss of Redis may still be alive. One that Redis
   * knows of is waited for in any case.
   */
  waitMs: number;
  intervalMs: number;
  /** 0: for ever. */
  maxAttempts: number;
  paused?: boolean;
  /**
   * Of what the spool knows to be confirmed, through `previous`. Default: one that covers nothing.
   * Null: it is not to be chained on.
   */
  chain?: Chain | null;
  /** Absent: the route must be just as described (resume). */
  reset?: {
    head: number;
    /** Sequence last confirmed, 0 for none. */
    previous: number;
    /** That batch, when it is to be confirmed once more before the head, and what came before it. */
    repeat?: { job: BatchJob; previous: number };
  };
}

/** An attempt that was not confirmed, as `fail` records it. */
export interface Failure {
  error: RouteError;
  /** The far side may have died applying the batch before: confirm that one once more first. */
  resend: boolean;
  /** It answered this batch, so it had ended the one before: never send that one again. */
  echoed: boolean;
  /** The destination failed; false: this worker could not even try. */
  counted: boolean;
  /** It failed after the commit byte: the next send may be a repeat. */
  uncertain: boolean;
}
