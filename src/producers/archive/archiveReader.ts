/** Reading a journal's archive beside the producer that adds to it and prunes it. Takes no lock. */
import {
  type ArchivedBatch,
  readHeader,
  readSegment,
  type SegmentStart,
  segmentsIn,
} from './archiveFiles.js';

/** The newest batches of an archive as far back as none is missing. */
export interface ArchiveSpan {
  from: number;
  to: number;
  /** Payload. */
  bytes: number;
}

/** Null: nothing is archived. */
export async function archiveSpan(dir: string): Promise<ArchiveSpan | null> {
  const segments = await segmentsIn(dir);
  for (let newest = segments.pop(); newest !== undefined; newest = segments.pop()) {
    const scan = await readSegment(dir, newest);
    const last = scan?.lines.at(-1);
    if (scan === null || last === undefined) continue;
    let from: SegmentStart = scan;
    while (segments.length > 0) {
      // Most often nothing is missing at all, and the oldest one says so.
      const oldest = await readHeader(dir, segments[0] ?? 0);
      if (oldest !== null && isDense(oldest, from)) {
        from = oldest;
        break;
      }
      if (oldest === null) {
        segments.shift(); // pruned meanwhile
        continue;
      }
      const before = await readHeader(dir, segments.pop() ?? 0);
      if (before === null || !isDense(before, from)) break;
      from = before;
    }
    return { from: from.first, to: last.sequence, bytes: last.total - from.header.before };
  }
  return null;
}

/** What the archive knows of [from, to], ascending; what is missing is left out. */
export async function* archivedBatches(
  dir: string,
  from: number,
  to: number,
): AsyncGenerator<ArchivedBatch, void> {
  const segments = await segmentsIn(dir);
  const start = Math.max(
    0,
    segments.findLastIndex((first) => first <= from),
  );
  for (const first of segments.slice(start)) {
    if (first > to) return;
    for (const line of (await readSegment(dir, first))?.lines ?? []) {
      if (line.sequence >= from && line.sequence <= to) yield line;
    }
  }
}

/** Finds single batches, one after the other: the segment read last is remembered. */
export class ArchiveLines {
  #first = 0;
  #lines: readonly ArchivedBatch[] = [];

  constructor(private readonly dir: string) {}

  /** Undefined: it is not in the archive. */
  async find(sequence: number): Promise<ArchivedBatch | undefined> {
    const known = this.#lines[sequence - this.#first];
    if (known !== undefined) return known;
    const first = (await segmentsIn(this.dir)).findLast((number) => number <= sequence);
    const scan = first === undefined ? null : await readSegment(this.dir, first);
    this.#first = scan?.first ?? 0;
    this.#lines = scan?.lines ?? [];
    return this.#lines[sequence - this.#first];
  }
}

function isDense(before: SegmentStart, after: SegmentStart): boolean {
  return after.first - before.first === after.header.count - before.header.count;
}
