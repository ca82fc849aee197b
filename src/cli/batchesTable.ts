import pc from 'picocolors';
import type { BatchState, BatchStatus } from '../status/batchReport.js';
import type { StatusReport } from '../status/report.js';
import { formatAge, formatBytes } from './format.js';

/** Widths are set before the first line is known: lines are printed as they are read. */
const WIDTHS = { sequence: 10, state: 9, bytes: 9, sha256: 12, age: 8, tries: 5 } as const;

export interface BatchesFormat {
  color: boolean;
  /** Characters of the longest route. */
  routeWidth: number;
}

/** The lines above the batches. */
export function batchesHead(
  redis: StatusReport['redis'],
  { color, routeWidth }: BatchesFormat,
): string {
  const { red, bold } = pc.createColors(color);
  const away = `Redis: not reachable, ${redis.error}; this is what the spool knows`;
  const title = row(
    ['ROUTE', 'BATCH', 'STATE', 'BYTES', 'SHA-256', 'AGE', 'TRIES'],
    routeWidth,
  ).trimEnd();
  return `${redis.ok ? '' : `${red(away)}\n\n`}${bold(title)}\n`;
}

/** One batch; its error and what to do about it on lines below. */
export function batchLine(batch: BatchStatus, { color, routeWidth }: BatchesFormat): string {
  const colors = pc.createColors(color);
  const line = row(
    [
      batch.route,
      String(batch.sequence),
      batch.state,
      formatBytes(batch.bytes),
      batch.sha256?.slice(0, WIDTHS.sha256) ?? '-',
      batch.ageMs === null ? '-' : formatAge(batch.ageMs),
      String(batch.attempts),
    ],
    routeWidth,
    colorOf(batch.state, colors),
  );
  const below = [batch.lastError, batch.hint].filter((text) => text !== null);
  return `${line.trimEnd()}\n${below.map((text) => `${colors.dim(`    ${text}`)}\n`).join('')}`;
}

function row(
  [route = '', sequence = '', state = '', size = '', sha256 = '', age = '', tries = '']: string[],
  routeWidth: number,
  paint: (text: string) => string = String,
): string {
  return [
    route.padEnd(routeWidth),
    sequence.padStart(WIDTHS.sequence),
    // Padding first: colour codes have no width on the screen, but a length in the text.
    paint(state.padEnd(WIDTHS.state)),
    size.padStart(WIDTHS.bytes),
    sha256.padEnd(WIDTHS.sha256),
    age.padStart(WIDTHS.age),
    tries.padStart(WIDTHS.tries),
  ].join('  ');
}

function colorOf(
  state: BatchState,
  colors: ReturnType<typeof pc.createColors>,
): (text: string) => string {
  switch (state) {
    case 'sending':
    case 'delivered':
    case 'archived':
      return colors.green;
    case 'retrying':
      return colors.yellow;
    case 'blocked':
    case 'skipped':
      return colors.red;
    case 'waiting':
    case 'queued':
      return String;
  }
}
