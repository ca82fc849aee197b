import type { Progress, ProgressUnit, StartProgress } from '../common/progress.js';
import { formatAge, formatBytes } from './format.js';

/** What is over sooner shows nothing: a line that flashes by helps nobody. */
const SHOW_AFTER_MS = 500;
/** Between two drawings. More often: flicker and time; less often: it looks stuck. */
const REDRAW_MS = 200;

const ERASE_LINE = '\u001b[2K';

/** A stream that may be a terminal: `process.stderr`. */
export interface ProgressStream {
  isTTY?: boolean | undefined;
  columns?: number | undefined;
  write(text: string): unknown;
}

/**
 * Shows on a terminal how far one piece of work is, in one line that is erased at the end:
 *
 *     reading spools  1200 of 10000 (12 %)  3s
 *
 * Elsewhere it is silent. Standard error is the place for it: output stays what it was.
 *
 * @param label what is being done
 * @param total how much there is, where that is known from the start
 */
export function progress(
  stream: ProgressStream,
  label: string,
  { total = 0, unit = 'items' }: { total?: number; unit?: ProgressUnit } = {},
): Progress {
  if (stream.isTTY !== true) return { at: () => undefined, end: () => undefined };
  const startedMs = performance.now();
  let done = 0;
  let all = total;
  let drawnMs = startedMs + SHOW_AFTER_MS - REDRAW_MS;
  let isDrawn = false;
  let isOver = false;
  const draw = (): void => {
    const nowMs = performance.now();
    if (isOver || nowMs - drawnMs < REDRAW_MS) return;
    drawnMs = nowMs;
    isDrawn = true;
    const line = progressLine({ label, done, total: all, unit, elapsedMs: nowMs - startedMs });
    // The cursor goes back: a line of the log written meanwhile begins where it should.
    stream.write(`\r${ERASE_LINE}${line.slice(0, Math.max(1, (stream.columns ?? 80) - 1))}\r`);
  };
  // Work that waits tells nothing, and still time goes by.
  const timer = setInterval(draw, REDRAW_MS).unref();
  return {
    at(nowDone, nowTotal) {
      done = nowDone;
      if (nowTotal !== undefined) all = nowTotal;
      draw(); // work that never yields lets no timer run
    },
    end() {
      if (isOver) return;
      isOver = true;
      clearInterval(timer);
      if (isDrawn) stream.write(`\r${ERASE_LINE}`);
    },
  };
}

/** Shows that a command still waits, for as long as the work takes. */
export async function whileWaiting<T>(label: string, work: Promise<T>): Promise<T> {
  const shown = progress(process.stderr, label);
  try {
    return await work;
  } finally {
    shown.end();
  }
}

/** The same for whoever only knows that there may be something to show. */
export function progressOn(stream: ProgressStream): StartProgress {
  return (label, unit = 'items') => progress(stream, label, { unit });
}

export function progressLine(state: {
  label: string;
  done: number;
  total: number;
  unit: ProgressUnit;
  elapsedMs: number;
}): string {
  const { label, done, total, unit, elapsedMs } = state;
  const text = unit === 'bytes' ? formatBytes : String;
  const parts = [label];
  if (total > 0) {
    const percent = Math.floor((Math.min(done, total) / total) * 100);
    parts.push(`${text(done)} of ${text(total)} (${percent} %)`);
  } else if (done > 0) parts.push(text(done));
  if (elapsedMs >= 1000) parts.push(formatAge(elapsedMs));
  return parts.join('  ');
}
