/*
 * Whether a batch is new, known, or out of place: the rules of a stream, without any files.
 *
 * A stream is one journal's history under one spool. A receiver keeps `last`, the highest sequence
 * held per app and stream. Sequences may be missing in between: the operator skipped them.
 */

export type RefusalReason =
  /** The sequence is held, but with other bytes. */
  | 'digest-mismatch'
  /** The sequence lies before `last` but was skipped then. */
  | 'not-held'
  /** Something between `last` and the batch has not arrived here. */
  | 'gap'
  /** Nothing of this stream has arrived here, and the batch is not its first. */
  | 'unknown-stream'
  /** The received bytes are not those of Content-Digest: changed on the way. */
  | 'corrupted'
  /** A batch is never empty. */
  | 'empty';

export type Decision =
  | { is: 'store' }
  | { is: 'duplicate' }
  | { is: 'refused'; reason: RefusalReason; last: number };

export interface Claim {
  stream: string;
  sequence: number;
  /** The sequence last confirmed on the sender's route; 0 for the first. */
  previous: number;
}

/**
 * @param last highest sequence held of the stream, 0 when it is unknown here
 * @param held SHA-256 held under `claim.sequence`, null when nothing is
 * @param sha256 of the received bytes; null before they have come: equality is then assumed
 */
export function decideBatch(
  claim: Claim,
  last: number,
  held: string | null,
  sha256: string | null,
): Decision {
  if (claim.sequence <= last) {
    if (held === null) return { is: 'refused', reason: 'not-held', last };
    if (sha256 !== null && sha256 !== held) {
      return { is: 'refused', reason: 'digest-mismatch', last };
    }
    return { is: 'duplicate' };
  }
  if (claim.previous <= last) return { is: 'store' };
  return { is: 'refused', reason: last === 0 ? 'unknown-stream' : 'gap', last };
}

/** @param known version held of this stream and path, 0 when none is */
export function decideBlob(version: number, known: number): 'store' | 'duplicate' {
  return version > known ? 'store' : 'duplicate';
}
