import pc from 'picocolors';
import type { ReceiverAppStatus, ReceiverStatus } from '../status/report.js';
import { formatAge, formatBytes } from './format.js';

const COLUMNS = ['APP', 'STORED', 'APPLIED', 'WAITING', 'OLDEST', 'TRIES'] as const;

/** A receiver's apps as people read them: one line each, its error on a line below. */
export function renderReceiver(receiver: ReceiverStatus, options: { color: boolean }): string {
  const colors = pc.createColors(options.color);
  const state =
    receiver.running === null
      ? 'unknown whether it runs'
      : receiver.running
        ? colors.green('running')
        : colors.red('not running');
  const lines = [`Receiver: ${state}`, ''];
  if (receiver.apps.length === 0) return `${[...lines, 'No apps yet.'].join('\n')}\n`;
  const rows = [[...COLUMNS], ...receiver.apps.map(cells)];
  const widths = COLUMNS.map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  rows.forEach((row, index) => {
    const line = row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column === 0 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd();
    lines.push(index === 0 ? colors.bold(line) : line);
    const error = receiver.apps[index - 1]?.lastError ?? null;
    if (error !== null) lines.push(colors.dim(`    ${error}`));
  });
  return `${lines.join('\n')}\n`;
}

function cells(app: ReceiverAppStatus): string[] {
  return [
    app.app,
    String(app.storedBatches),
    app.appliedBatches === null ? '-' : String(app.appliedBatches),
    app.waitingBatches === 0 ? '-' : `${app.waitingBatches} (${formatBytes(app.waitingBytes)})`,
    app.oldestAgeMs === 0 ? '-' : formatAge(app.oldestAgeMs),
    String(app.attempts),
  ];
}
