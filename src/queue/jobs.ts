import { hash } from 'node:crypto';
import type { BatchIdentity } from '../common/identity.js';

/**
 * What a job says. Metadata only: payload and keys never enter Redis job data, because the
 * dashboard shows all of it.
 */
export interface BatchJob extends BatchIdentity {
  route: string;
  journal: string;
  destination: string;
  generation: number;
  /** When the batch was sealed, ms since the epoch: the age shown to operators. */
  sealedAtMs: number;
  payload: PayloadPlace;
}

export interface BlobJob {
  route: string;
  journal: string;
  destination: string;
  stream: string;
  /** Name of the symlink in the blob directory. */
  link: string;
  /** Its text: the path on the wire. */
  text: string;
  version: number;
  /** Sequence of the batch that must be confirmed before. */
  follows: number;
  /** `file`: the link as this host sees it; `transfer`: read through the producer. */
  payload: { kind: 'file'; path: string } | { kind: 'transfer' };
}

/**
 * The file behind a blob's link as it was opened for a send. The producer compares it with what
 * lies there after the link is gone: a change in between must be sent too.
 */
export interface BlobSent {
  inode: number;
  bytes: number;
  mtimeMs: number;
  /**
   * Set when the file was so young at open that its mtime alone proves nothing. The file is compared
   * with itself a moment ago, so a checksum will do, which costs no time beside the encryption.
   */
  crc32: number | null;
}

/** As a worker has put it into Redis; one of an older version has put a digest in the sum's place. */
export function blobSentOf(json: string): BlobSent {
  const sent = JSON.parse(json) as BlobSent & { sha256?: string | null };
  // No sum is like this one: the blob is sent once more.
  if (sent.crc32 === undefined) sent.crc32 = sent.sha256 === null ? null : Number.NaN;
  return sent;
}

/** A file changed this shortly before its open may change again without a new mtime. */
export const YOUNG_BLOB_MS = 2_000;

/** Where a worker finds the bytes of a batch. */
export type PayloadPlace =
  /** In the producer's state directory: a range of a file of the journal's spool. */
  | { kind: 'spool'; file: string; offset: number }
  /** The same of the journal's archive: a batch that was delivered before. */
  | { kind: 'archive'; file: string; offset: number }
  /** In Redis: so many chunks of `CHUNK_BYTES`, under `prefix` + number. */
  | { kind: 'chunks'; count: number; prefix: string }
  /** Too large for Redis: read from the producer through a window of chunks. */
  | { kind: 'transfer' };

/** Short and safe for keys and job ids, whatever a link is called. */
export function blobKey(link: string): string {
  return hash('sha256', link).slice(0, 16);
}
