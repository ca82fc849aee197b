import pc from 'picocolors';
import type { Rate } from '../status/rates.js';
import type { RouteStatus, StatusReport } from '../status/report.js';
import { formatAge, formatBytes } from './format.js';
import { renderReceiver } from './receiverTable.js';

const COLUMNS = ['ROUTE', 'STATE', 'NEXT', 'WAITING', 'OLDEST', 'TRIES', 'DELIVERED'] as const;
/** While watching. */
const RATE_COLUMNS = ['BATCHES/S', 'BYTES/S'] as const;
/** Text to the left, numbers to the right. */
const LEFT_COLUMNS = 2;

export interface StatusFormat {
  color: boolean;
  /** Adds columns; null: not known yet. Default: no such columns. */
  rates?: ReadonlyMap<string, Rate> | null;
}

/** The status as people read it: the routes, the receiver, or both. */
export function renderStatus(report: StatusReport, options: StatusFormat): string {
  const { receiver, redis, routes } = report;
  if (receiver === undefined) return renderRoutes(report, options);
  // Redis is not even asked where there is nothing but a receiver.
  const isAlone = routes.length === 0 && redis.ok && redis.durability === null;
  const parts = isAlone ? [] : [renderRoutes(report, options)];
  return [...parts, renderReceiver(receiver, options)].join('\n');
}

/** One line per route, its error on a line below. */
function renderRoutes(report: StatusReport, options: StatusFormat): string {
  const colors = pc.createColors(options.color);
  const { redis, routes } = report;
  const lines = [
    redis.ok
      ? `Redis: ok, durability ${redis.durability ?? 'unknown'}`
      : colors.red(`Redis: not reachable${redis.error === null ? '' : `, ${redis.error}`}`),
    ...(redis.ok && redis.error !== null ? [colors.yellow(`    ${redis.error}`)] : []),
    '',
  ];
  if (routes.length === 0) return `${[...lines, 'No routes yet.'].join('\n')}\n`;

  const { rates } = options;
  const columns: string[] = rates === undefined ? [...COLUMNS] : [...COLUMNS, ...RATE_COLUMNS];
  const rows = [
    columns,
    ...routes.map((route) =>
      rates === undefined ? cells(route) : [...cells(route), ...rateCells(rates?.get(route.route))],
    ),
  ];
  const widths = columns.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  rows.forEach((row, index) => {
    const padded = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return column < LEFT_COLUMNS ? cell.padEnd(width) : cell.padStart(width);
    });
    const route = routes[index - 1];
    if (route === undefined) {
      lines.push(colors.bold(padded.join('  ').trimEnd()));
      return;
    }
    // Padding first: colour codes have no width on the screen, but a length in the text.
    padded[1] = colorOf(route.state, colors)(padded[1] ?? '');
    lines.push(padded.join('  ').trimEnd());
    if (route.replay !== null) lines.push(colors.dim(`    ${replaying(route.replay)}`));
    if (route.lastError !== null) lines.push(colors.dim(`    ${route.lastError}`));
  });
  return `${lines.join('\n')}\n`;
}

function rateCells(rate: Rate | undefined): string[] {
  if (rate === undefined) return ['-', '-'];
  return [rate.batchesPerSecond.toFixed(1), formatBytes(rate.bytesPerSecond)];
}

function cells(route: RouteStatus): string[] {
  const blobs = route.pendingBlobs > 0 ? ` +${route.pendingBlobs} blobs` : '';
  const waiting =
    route.pendingBatches === 0
      ? '-'
      : `${route.pendingBatches} (${formatBytes(route.pendingBytes)})`;
  return [
    route.route,
    route.state,
    String(route.head),
    `${waiting}${blobs}`,
    route.oldestAgeMs === 0 ? '-' : formatAge(route.oldestAgeMs),
    String(route.attempts),
    `${route.deliveredBatches} (${formatBytes(route.deliveredBytes)})`,
  ];
}

function replaying({ from, to, batchesLeft, bytesLeft }: NonNullable<RouteStatus['replay']>) {
  return `replaying ${from} to ${to}: ${batchesLeft} (${formatBytes(bytesLeft)}) to go`;
}

function colorOf(
  state: RouteStatus['state'],
  colors: ReturnType<typeof pc.createColors>,
): (text: string) => string {
  switch (state) {
    case 'idle':
    case 'sending':
      return colors.green;
    case 'retrying':
    case 'paused':
      return colors.yellow;
    case 'blocked':
    case 'orphaned':
      return colors.red;
  }
}
