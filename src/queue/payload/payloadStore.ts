import type { BatchJob, PayloadPlace } from '../jobs.js';

/** Payload travels in chunks of this size through Redis, and in reads of it from files. */
export const CHUNK_BYTES = 1024 * 1024;

/** Chunks asked for ahead, each way: enough to hide a round trip, little enough for memory. */
export const CHUNKS_IN_FLIGHT = 4;

/** A batch up to this size is read in one go. Larger: memory per connection; smaller: more trips. */
export const WHOLE_MAX_BYTES = 64 * 1024;

/** Reads a range of a sealed batch at its producer. */
export interface PayloadSource {
  bytes: number;
  /** Of the open file: how a blob is recognised later. */
  inode: number;
  mtimeMs: number;
  /** Reads exactly [from, to) into a fresh buffer; throws when the source is shorter. */
  read(from: number, to: number): Promise<Buffer>;
  close(): Promise<void>;
}

/**
 * Where payload waits between its capture and its confirmation.
 *
 * The interface is the specification; one conformance test runs against every store.
 * - `put` is finished before the batch is accepted: once it returns, `read` at any worker yields
 *   exactly the sealed bytes, until `remove`. Putting the same batch again is harmless.
 * - `read` never holds more than `CHUNKS_IN_FLIGHT` chunks in memory. A yielded buffer belongs to
 *   the reader until it asks for the next.
 * - `readWhole` gives the same bytes in one buffer, which is the reader's. For batches of at most
 *   `WHOLE_MAX_BYTES`: it costs a fraction of `read`'s steps.
 * - A payload that is not there is an error (PAYLOAD_MISSING), never an empty one.
 * - `remove` of what is not there is no error.
 */
export interface PayloadStore {
  put(job: BatchJob, source: PayloadSource): Promise<PayloadPlace>;
  read(job: BatchJob): AsyncIterable<Uint8Array>;
  readWhole(job: BatchJob): Promise<Buffer>;
  remove(job: BatchJob): Promise<void>;
}
