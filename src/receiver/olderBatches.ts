import type { BatchRecord } from './batchRecord.js';
import { type Held, Streams } from './streams.js';

/** Found with one reading of the index, from the one that is asked for on: a replay goes upwards. */
const NEIGHBOURS = 4_096;
/** Streams whose neighbours are kept: more of them are replayed at once, and each reads again. */
const STREAMS_MAX = 4;

interface Window {
  from: number;
  found: Promise<ReadonlyMap<number, Held>>;
}

/** Batches that memory has forgotten, looked up in the index of an app. */
export class OlderBatches {
  readonly #scan: (onRecord: (record: BatchRecord) => void) => Promise<void>;
  readonly #windows = new Map<string, Window>();

  /** @param scan reads the whole index: seconds for a million batches */
  constructor(scan: (onRecord: (record: BatchRecord) => void) => Promise<void>) {
    this.#scan = scan;
  }

  /** What is held under a sequence that lies before all that memory knows of its stream. */
  async find(stream: string, sequence: number): Promise<Held | null> {
    let window = this.#windows.get(stream);
    if (window === undefined || sequence < window.from || sequence >= window.from + NEIGHBOURS) {
      window = { from: sequence, found: this.#read(stream, sequence) };
      this.#windows.delete(stream);
      this.#windows.set(stream, window);
      const [first] = this.#windows.keys();
      if (this.#windows.size > STREAMS_MAX && first !== undefined) this.#windows.delete(first);
      window.found.catch(() => this.#windows.delete(stream));
    }
    const held = (await window.found).get(sequence);
    // What is not there is looked for anew: it could have been on its way into the index.
    if (held === undefined && this.#windows.get(stream) === window) this.#windows.delete(stream);
    return held ?? null;
  }

  /** Something new has come of the stream: its replay is over. */
  forget(stream: string): void {
    if (this.#windows.size > 0) this.#windows.delete(stream);
  }

  async #read(stream: string, from: number): Promise<ReadonlyMap<number, Held>> {
    const streams = new Streams();
    const found = new Map<number, Held>();
    await this.#scan((record) => {
      if (record.stream !== stream || record.sequence >= from + NEIGHBOURS) return;
      streams.add(record);
      const held = streams.held(stream, record.sequence);
      if (record.sequence >= from && held !== null && held !== 'unknown') {
        found.set(record.sequence, held);
      }
    });
    return found;
  }
}
