/** How `ferry status --watch` shows its looks: on a terminal, as blocks of text, as JSON lines. */
import type { Rate } from '../status/rates.js';
import type { StatusReport } from '../status/report.js';
import { formatError } from './edge.js';
import { Screen, type Terminal } from './screen.js';
import { renderStatus } from './statusTable.js';
import type { View } from './watch.js';

export interface StatusLook {
  at: Date;
  report: StatusReport;
  /** Null: the first look. */
  rates: ReadonlyMap<string, Rate> | null;
}

/** Redraws the terminal, until `end` gives it back. */
export function terminalView(terminal: Terminal, color: boolean): View<StatusLook> {
  const screen = new Screen(terminal);
  const head = (at: Date): string => `ferry status  ${clock(at)}  (q ends)\n\n`;
  return {
    show: ({ at, report, rates }) =>
      screen.show(`${head(at)}${renderStatus(report, { color, rates })}`),
    trouble: (error) => screen.show(`${head(new Date())}${formatError(error, color)}`),
    end: () => screen.end(),
  };
}

/** A block per look, with its time above it. */
export function blockView(output: NodeJS.WritableStream, color: boolean): View<StatusLook> {
  return {
    show({ at, report, rates }) {
      output.write(`${at.toISOString()}\n${renderStatus(report, { color, rates })}\n`);
    },
    trouble: (error) =>
      void output.write(`${new Date().toISOString()}\n${formatError(error, color)}\n`),
    end: () => undefined,
  };
}

/** An object per line: the report, when it was made, and the rates of each route. */
export function jsonView(
  output: NodeJS.WritableStream,
  errors: NodeJS.WritableStream,
): View<StatusLook> {
  return {
    show({ at, report, rates }) {
      const routes = report.routes.map((route) => {
        const { batchesPerSecond = null, bytesPerSecond = null } = rates?.get(route.route) ?? {};
        return { ...route, batchesPerSecond, bytesPerSecond };
      });
      output.write(`${JSON.stringify({ ...report, at: at.toISOString(), routes })}\n`);
    },
    trouble: (error) => void errors.write(formatError(error, false)),
    end: () => undefined,
  };
}

function clock(at: Date): string {
  return at.toTimeString().slice(0, 8);
}
