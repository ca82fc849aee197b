import { chained } from '../common/chain.js';
import type { BatchRecord } from './batchRecord.js';

/**
 * Batches kept in memory per stream. Older duplicates come only after a loss of Redis or a replay;
 * they are looked up in the index file.
 */
const RECENT_MAX = 1_024;

/** The same of all streams of a receiver together, some 50 MB. */
const RECENT_OF_ALL_MAX = 131_072;

/** What is known of a batch that is held. */
export type Held = Pick<BatchRecord, 'number' | 'sha256'> & { chain: string };

interface StreamState {
  last: number;
  recent: Map<number, Held>;
}

/**
 * How much all streams may remember together. When it is used up, the stream that has stood still
 * for longest keeps its last batch and nothing else.
 */
export class StreamMemory {
  readonly #max: number;
  #held = 0;
  /** Streams that have something to give, the one that has stood still for longest first. */
  readonly #byUse = new Set<StreamState>();

  constructor(max = RECENT_OF_ALL_MAX) {
    this.#max = max;
  }

  /** A batch of the stream was added, and perhaps its oldest one taken out. */
  note(state: StreamState, more: number): void {
    this.#held += more;
    this.#byUse.delete(state);
    if (state.recent.size > 1) this.#byUse.add(state);
    for (const oldest of this.#byUse) {
      if (this.#held <= this.#max) return;
      this.#byUse.delete(oldest);
      const { recent, last } = oldest;
      const kept = recent.get(last);
      this.#held -= recent.size;
      recent.clear();
      if (kept === undefined) continue;
      recent.set(last, kept);
      this.#held += 1;
    }
  }
}

/** What the receiver knows of each sender's stream, as of the durable index. */
export class Streams {
  readonly #states = new Map<string, StreamState>();
  readonly #memory: StreamMemory;

  /** @param memory shared with the other apps of the receiver */
  constructor(memory = new StreamMemory()) {
    this.#memory = memory;
  }

  add(record: BatchRecord): void {
    if (record.stream === null) return;
    let state = this.#states.get(record.stream);
    if (state === undefined) {
      state = { last: 0, recent: new Map() };
      this.#states.set(record.stream, state);
    }
    const { number, sha256, sequence, previous } = record;
    // Records of a version without chains stand before all others: what they follow is in memory.
    const chain = record.chain ?? chained(state.recent.get(previous)?.chain ?? '', sha256);
    state.last = sequence;
    const before = state.recent.size;
    state.recent.set(sequence, { number, sha256, chain });
    if (state.recent.size > RECENT_MAX) {
      const [oldest] = state.recent.keys();
      if (oldest !== undefined) state.recent.delete(oldest);
    }
    this.#memory.note(state, state.recent.size - before);
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
