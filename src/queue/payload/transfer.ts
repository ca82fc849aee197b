/**
 * Payload that is too large for Redis, and blobs, go from producer to worker through a window of
 * chunks: the worker says which chunks it wants, the producer uploads just those, the worker
 * takes them out. Redis never holds more than the window, however large the file is.
 *
 *   worker                                        producer
 *   wants[id] = {what, next, until}; "want id" ->  opens the source once, keeps it open
 *             <- "ready id"                        head: its length; chunks next..until-1
 *   takes chunk, until + 1; "want id" ->           uploads the next
 *   forgets wants[id]; "done id" ->                closes the source
 *
 * Messages may be lost: the worker repeats its wish, the producer looks at all wishes now and
 * then. A wish that its worker no longer renews is dropped.
 */

/** What a worker wants to read. */
export type TransferSubject =
  | { kind: 'batch'; journal: string; stream: string; sequence: number }
  | { kind: 'blob'; journal: string; stream: string; link: string; text: string };

export interface TransferWish {
  subject: TransferSubject;
  /** First chunk not yet taken, and the first that is not wanted yet. */
  next: number;
  until: number;
  /** `next` was waited for in vain: it has expired, or a lost answer took it. */
  missing: boolean;
  /** When the worker last renewed it, ms since the epoch by the worker's clock. */
  at: number;
}

/** What the producer found: the length as of the one open file, or why there is none. */
export type TransferHead = { bytes: number; inode: number; mtimeMs: number } | { missing: string };

/** Chunks and heads vanish by themselves when nobody takes them. */
export const TRANSFER_TTL_MS = 60_000;

/** A worker asks again this often while nothing comes. */
export const WISH_AGAIN_MS = 1_000;

/** No chunk for so long: the producer is away, and the attempt ends. */
export const TRANSFER_PATIENCE_MS = 30_000;
