import { Command } from 'commander';
import type { StatusReport } from '../status/report.js';
import { commandLogger, type GlobalOptions, useColor } from './options.js';
import { renderReceiver } from './receiverTable.js';
import { renderStatus } from './statusTable.js';

/** `ferry status`: every route, as a table or as JSON. */
export function statusCommand(): Command {
  return new Command('status')
    .description('every route: state, what waits, last error, totals')
    .option('--json', 'print the versioned JSON contract')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { json?: boolean }>();
      const { operated } = await import('../ssl/daemons.js');
      const { configs, areDaemons } = await operated(options.config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { readStatusOfAll } = await import('../status/status.js');
      const report = await readStatusOfAll(configs, commandLogger(options), { areDaemons });
      process.stdout.write(
        options.json === true
          ? `${JSON.stringify(report)}\n`
          : tables(report, { color: useColor(options, process.stdout) }),
      );
    });
}

/** The routes, the receiver, or both: what the configuration speaks of. */
function tables(report: StatusReport, options: { color: boolean }): string {
  const { receiver, redis, routes } = report;
  if (receiver === undefined) return renderStatus(report, options);
  const receiverOnly = routes.length === 0 && redis.ok && redis.durability === null;
  const parts = receiverOnly ? [] : [renderStatus(report, options)];
  return [...parts, renderReceiver(receiver, options)].join('\n');
}
