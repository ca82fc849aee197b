/**
 * What a capture or a recovery ends with. Whatever it is, an error included: the batches through
 * `spool.lastSequence` are sealed and to be fed.
 */
import { FerryError, systemCode } from '../../common/errors.js';
import type { SpoolBatch } from '../spool/types.js';
import type { HeldReason } from './room.js';

/** Something an operator may want to know; the capture itself dealt with it. */
export interface CaptureNote {
  code:
    | 'JOURNAL_REPLACED'
    | 'JOURNAL_SHRUNK'
    | 'JOURNAL_CHANGED'
    | 'JOURNAL_WRITTEN_WITHOUT_LOCK'
    | 'MARK_NOT_WRITTEN'
    | 'SETTLE_FAILED';
  message: string;
}

export type CaptureOutcome =
  | { readonly captured: SpoolBatch; readonly lockHeldMs: number; readonly notes: CaptureNote[] }
  /** There was nothing in the journal. */
  | { readonly empty: true }
  /** The bytes stay in the journal until there is room. */
  | { readonly held: HeldReason };

export type RecoveryOutcome =
  /** Nothing was open. The journal was not touched. */
  | { readonly found: 'nothing' }
  /** The last captured bytes are gone from the journal. */
  | { readonly found: 'truncated' }
  /** They, or (after a power cut) a part of them, were still there, and are gone now. */
  | {
      readonly found: 'leftover';
      readonly of: number;
      /** What stood behind them, as a batch of its own; null: nothing did. */
      readonly captured: SpoolBatch | null;
      readonly lockHeldMs: number;
    }
  /** A copy whose first `bytes` bytes are the only ones left: the next capture goes on from there. */
  | { readonly found: 'trimmed'; readonly bytes: number };

export function isOutOfSpace(error: unknown): boolean {
  if (error instanceof FerryError) return error.code === 'SPOOL_NO_SPACE';
  const code = systemCode(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export function changedWhileTrimmed(path: string, part: string, bytes: number): FerryError {
  return new FerryError(
    'JOURNAL_CHANGED_WHILE_TRIMMED',
    `${path} was replaced or truncated by somebody else after its first ${bytes} bytes were released`,
    {
      kind: 'storage',
      hint: `those bytes exist only in ${part}: stop the producer and the writer, put them back in front of the journal, start again`,
      context: { path, part, bytes },
    },
  );
}

export function unstable(path: string, times: number, why: string): FerryError {
  return new FerryError('JOURNAL_UNSTABLE', `${path}: ${why}, ${times} times in a row`, {
    kind: 'storage',
    hint: 'somebody replaces or truncates the journal beside us: only one shipper per journal',
    context: { path },
  });
}

export function writtenWithoutLock(path: string): FerryError {
  return new FerryError(
    'JOURNAL_WRITTEN_WITHOUT_LOCK',
    `${path} keeps growing while we hold its lock`,
    {
      kind: 'storage',
      hint: 'its writer takes no fcntl lock: set flush.quiet, or make it take the lock',
      context: { path },
    },
  );
}
