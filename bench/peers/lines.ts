import { createHash } from 'node:crypto';
import { compareOrder, type Run } from '../../chaos/records.js';

/** Each line is as long, so that a size says how many there are. */
export const LINE_BYTES = 200;

/**
 * Line `number`, its end included: text without anything that a log daemon would quote, and all of
 * it follows from the number, so that nothing that was written has to be kept.
 */
export function line(number: number): Buffer {
  const hex = createHash('sha256').update(String(number)).digest('hex');
  const text = `#${number} `;
  return Buffer.from(`${text}${hex.repeat(4)}`.slice(0, LINE_BYTES - 1).concat('\n'));
}

/** What became of lines 1 to n on their way. */
export interface Arrived {
  /** Different lines that are there, whole. */
  lines: number;
  lost: number;
  duplicated: number;
  /** Came behind a later one. */
  reordered: number;
  /** Pieces that are no whole line. */
  torn: number;
}

/**
 * Compares what arrived, in the order of its arrival, with lines 1 to `written`. A line that was
 * never written counts as torn: nobody wrote those bytes.
 */
export function judge(received: Uint8Array, written: number): Arrived {
  const runs: Run[] = [];
  let torn = 0;
  let lines = 0;
  const pieces = Buffer.from(received).toString('latin1').split('\n');
  const rest = pieces.pop() ?? '';
  for (const piece of pieces) {
    const number = Number(/^#([1-9]\d*) /.exec(piece)?.[1] ?? 0);
    if (number === 0 || number > written || `${piece}\n` !== line(number).toString('latin1')) {
      torn += 1;
      continue;
    }
    lines += 1;
    const run = runs.at(-1);
    if (run !== undefined && run.last + 1 === number) run.last = number;
    else runs.push({ first: number, last: number });
  }
  if (rest !== '') torn += 1;
  const { lost, duplicated, reordered } = compareOrder(runs, written);
  return {
    lines: lines - duplicated.length,
    lost: lost.length,
    duplicated: duplicated.length,
    reordered: reordered.length,
    torn,
  };
}
