import type { BatchRecord } from './batchRecord.js';

/**
 * Batches remembered in memory per stream. Older duplicates come only after a loss of Redis or a replay;
 * they are looked up in the index file.
 */
const RECENT_MAX = 1_024;

/** What is held under a sequence: the receiver's own number and the bytes' SHA-256. */
export type Held = Pick<BatchRecord, 'number' | 'sha256'>;

interface StreamState {
  last: number;
  recent: Map<number, Held>;
}

/** What the receiver knows of each sender's stream, as of the durable index. */
export class Streams {
  readonly #states = new Map<string, StreamState>();

  add(record: BatchRecord): void {
    if (record.stream === null) return;
    let state = this.#states.get(record.stream);
    if (state === undefined) {
      state = { last: 0, recent: new Map() };
      this.#states.set(record.stream, state);
    }
    state.last = record.sequence;
    const { number, sha256 } = record;
    state.recent.set(record.sequence, { number, sha256 });
    if (state.recent.size > RECENT_MAX) {
      const [oldest] = state.recent.keys();
      if (oldest !== undefined) state.recent.delete(oldest);
    }
  }

  /** Highest sequence held, 0 when the stream is unknown. */
  last(stream: string): number {
    return this.#states.get(stream)?.last ?? 0;
  }

  /** What is held under a sequence; `unknown`: older than what memory holds. */
  held(stream: string, sequence: number): Held | 'unknown' | null {
    const state = this.#states.get(stream);
    if (state === undefined || sequence > state.last) return null;
    const [oldest = 0] = state.recent.keys();
    return state.recent.get(sequence) ?? (sequence < oldest ? 'unknown' : null);
  }
}
