import { createHash } from 'node:crypto';

/**
 * Numbered records: content and length follow from journal and number, so that nothing that was
 * written has to be kept, and whatever arrived can be told to be lost, doubled, torn or reordered.
 */

/** Of so many records one is larger than what fits into a spool's log. */
const LARGE_EVERY = 80;
const LARGE_MIN_BYTES = 260 * 1024;
const LARGE_MAX_BYTES = 900 * 1024;
/** And of so many one is larger than the sockets on its way hold. */
const HUGE_EVERY = 1_000;
const HUGE_MIN_BYTES = 3 * 1024 * 1024;
const HUGE_MAX_BYTES = 6 * 1024 * 1024;
const MIDDLE_EVERY = 10;
const MIDDLE_MAX_BYTES = 32 * 1024;
const SMALL_MAX_BYTES = 2_000;

/** `#journal:number length\n` and so many bytes. */
export function record(journal: string, number: number): Buffer {
  const seed = createHash('sha256').update(`${journal}:${number}`).digest();
  const length = lengthOf(seed);
  return Buffer.concat([
    Buffer.from(`#${journal}:${number} ${length}\n`),
    Buffer.alloc(length, seed),
  ]);
}

function lengthOf(seed: Buffer): number {
  const size = seed.readUInt32LE(4);
  if (seed.readUInt32LE(0) % LARGE_EVERY === 0) {
    return LARGE_MIN_BYTES + (size % (LARGE_MAX_BYTES - LARGE_MIN_BYTES));
  }
  if (seed.readUInt32LE(12) % HUGE_EVERY === 0) {
    return HUGE_MIN_BYTES + (size % (HUGE_MAX_BYTES - HUGE_MIN_BYTES));
  }
  const max = seed.readUInt32LE(8) % MIDDLE_EVERY === 0 ? MIDDLE_MAX_BYTES : SMALL_MAX_BYTES;
  return 1 + (size % max);
}

/** Records that follow one another. */
export interface Run {
  first: number;
  last: number;
}

export interface Scan {
  runs: Run[];
  /** What is no whole record of this journal. */
  torn: string[];
}

/** Which records these bytes are. Behind a torn one it goes on at the next whole one. */
export function scan(journal: string, bytes: Buffer): Scan {
  const result: Scan = { runs: [], torn: [] };
  const mark = Buffer.from(`#${journal}:`);
  let at = 0;
  while (at < bytes.length) {
    const number = numberAt(bytes, at, mark);
    const expected = number === null ? null : record(journal, number);
    if (
      number === null ||
      expected === null ||
      bytes.compare(expected, 0, expected.length, at, Math.min(at + expected.length, bytes.length))
    ) {
      const head = bytes
        .subarray(at, at + 40)
        .toString('latin1')
        .split('\n')[0];
      result.torn.push(`at byte ${at} of ${bytes.length}: ${JSON.stringify(head)}`);
      const next = bytes.indexOf(mark, at + 1);
      at = next < 0 ? bytes.length : next;
      continue;
    }
    at += expected.length;
    const run = result.runs.at(-1);
    if (run !== undefined && run.last + 1 === number) run.last = number;
    else result.runs.push({ first: number, last: number });
  }
  return result;
}

function numberAt(bytes: Buffer, at: number, mark: Buffer): number | null {
  const head = bytes.subarray(at, at + mark.length + 24);
  if (!head.subarray(0, mark.length).equals(mark)) return null;
  const digits = /^(\d+) \d+\n/.exec(head.subarray(mark.length).toString('latin1'));
  return digits === null ? null : Number(digits[1]);
}

export interface OrderCount {
  lost: number[];
  duplicated: number[];
  reordered: number[];
}

/** Compares what arrived, in the order of its arrival, with records 1 to `written`. */
export function compareOrder(runs: Iterable<Run>, written: number): OrderCount {
  const missing = new Set<number>();
  const count: OrderCount = { lost: [], duplicated: [], reordered: [] };
  let next = 1;
  for (const { first, last } of runs) {
    for (let number = next; number < first; number += 1) missing.add(number);
    for (let number = first; number <= Math.min(last, next - 1); number += 1) {
      if (missing.delete(number)) count.reordered.push(number);
      else count.duplicated.push(number);
    }
    next = Math.max(next, last + 1);
  }
  for (let number = next; number <= written; number += 1) missing.add(number);
  count.lost = [...missing];
  return count;
}
