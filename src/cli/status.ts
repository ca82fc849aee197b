import { Command } from 'commander';
import { commandLogger, type GlobalOptions, useColor } from './options.js';
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
          : renderStatus(report, { color: useColor(options, process.stdout) }),
      );
    });
}
