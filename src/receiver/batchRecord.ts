/** One accepted batch, as it stands in `index.log`. */
export interface BatchRecord {
  /** The receiver's own number, dense from 1: the order of acceptance. */
  number: number;
  /** Null for senders without identity (bin/ssl). */
  stream: string | null;
  /** 0 without identity, like `previous`. */
  sequence: number;
  previous: number;
  sha256: string;
  bytes: number;
  /** Where the bytes are until they have their final name. */
  part: string;
  /**
   * Chain of digests of its stream (`common/chain.ts`): behind the batch that its sender had
   * confirmed before it. Absent without identity, and in records of versions that had no chain.
   */
  chain?: string;
}
