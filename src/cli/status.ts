import { Command, InvalidArgumentError } from 'commander';
import { parseDuration } from '../config/units.js';
import type { StatusReport } from '../status/report.js';
import { commandLogger, type GlobalOptions, useColor } from './options.js';
import { whileWaiting } from './progress.js';
import { renderStatus } from './statusTable.js';

/** Between two looks, unless said otherwise. */
const WATCH_DEFAULT_MS = 2_000;
/** More often is a load on Redis and on the disk, and nobody can read it. */
const WATCH_MIN_MS = 100;

type StatusOptions = GlobalOptions & { json?: boolean; watch?: number | true };

/** `ferry status`: every route, as a table or as JSON, once or again and again. */
export function statusCommand(): Command {
  return new Command('status')
    .description('every route: state, what waits, last error, totals')
    .option('--json', 'print the versioned JSON contract')
    .option('--watch [interval]', 'again and again, with rates; default: every 2s', parseInterval)
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<StatusOptions>();
      const { operated } = await import('../ssl/daemons.js');
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { readStatusOfAll } = await import('../status/status.js');
      const log = commandLogger(options);
      const look = async () => {
        const { configs, areDaemons } = await operated(options.config);
        return readStatusOfAll(configs, log, { areDaemons });
      };
      const color = useColor(options, process.stdout);
      const isJson = options.json === true;
      if (options.watch !== undefined) {
        const intervalMs = options.watch === true ? WATCH_DEFAULT_MS : options.watch;
        await watchStatus(look, { intervalMs, isJson, color });
        return;
      }
      const report = await whileWaiting('reading spools and Redis', look());
      process.stdout.write(
        isJson ? `${JSON.stringify(report)}\n` : renderStatus(report, { color }),
      );
    });
}

async function watchStatus(
  look: () => Promise<StatusReport>,
  { intervalMs, isJson, color }: { intervalMs: number; isJson: boolean; color: boolean },
): Promise<void> {
  const { stopSignal, watch } = await import('./watch.js');
  const { blockView, jsonView, terminalView } = await import('./statusViews.js');
  const { Rates } = await import('../status/rates.js');
  const { stdin, stdout, stderr } = process;
  const rates = new Rates();
  const { signal, release } = stopSignal(stdin, stdout);
  try {
    await watch(
      async () => {
        const report = await look();
        return { at: new Date(), report, rates: rates.since(report, performance.now()) };
      },
      () => {
        if (isJson) return jsonView(stdout, stderr);
        return stdout.isTTY === true ? terminalView(stdout, color) : blockView(stdout, color);
      },
      { intervalMs, signal },
    );
  } finally {
    release();
  }
}

function parseInterval(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds !== null && milliseconds >= WATCH_MIN_MS) return milliseconds;
  throw new InvalidArgumentError('Expected a duration such as 500ms, 2s or 1m, at least 100ms.');
}
