import pc from 'picocolors';
import type { RouteStatus, StatusReport } from '../status/report.js';

const COLUMNS = ['ROUTE', 'STATE', 'NEXT', 'WAITING', 'OLDEST', 'TRIES', 'DELIVERED'] as const;
/** Text to the left, numbers to the right. */
const LEFT_COLUMNS = 2;

/** The status as people read it: one line per route, its error on a line below. */
export function renderStatus(report: StatusReport, options: { color: boolean }): string {
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

  const rows = [[...COLUMNS], ...routes.map(cells)];
  const widths = COLUMNS.map((_, column) =>
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
    if (route.lastError !== null) lines.push(colors.dim(`    ${route.lastError}`));
  });
  return `${lines.join('\n')}\n`;
}

function cells(route: RouteStatus): string[] {
  const blobs = route.pendingBlobs > 0 ? ` +${route.pendingBlobs} blobs` : '';
  const waiting =
    route.pendingBatches === 0 ? '-' : `${route.pendingBatches} (${bytes(route.pendingBytes)})`;
  return [
    route.route,
    route.state,
    String(route.head),
    `${waiting}${blobs}`,
    route.oldestAgeMs === 0 ? '-' : age(route.oldestAgeMs),
    String(route.attempts),
    `${route.deliveredBatches} (${bytes(route.deliveredBytes)})`,
  ];
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

/** Three digits at most, in binary units. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1);
  return `${text} ${units[unit]}`;
}

/** The two largest units: `2h 5m`. */
export function age(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return `${milliseconds}ms`;
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join(' ');
}
