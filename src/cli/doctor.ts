import { Command } from 'commander';
import { FerryError } from '../common/errors.js';
import { operated } from '../ssl/daemons.js';
import { renderDoctor } from './doctorTable.js';
import { type GlobalOptions, useColor } from './options.js';
import { whileWaiting } from './progress.js';

/** `ferry doctor`: what is wrong, and what to do. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('look for what is wrong: Redis, journals, locks, certificates, keys, disks')
    .option('--json', 'print the versioned JSON contract')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { json?: boolean }>();
      // Loaded only now: other commands do without all of it.
      const { diagnoseInvalid } = await import('../operator/doctor/doctor.js');
      const { diagnoseInChild } = await import('./doctorChild.js');
      let invalid: unknown = null;
      const examined = operated(options.config).then(
        () => diagnoseInChild(options.config),
        (error: unknown) => {
          if (!(error instanceof FerryError) || error.kind !== 'usage') throw error;
          invalid = error;
          return diagnoseInvalid(options.config, error);
        },
      );
      const report = await whileWaiting('looking', examined);
      process.stdout.write(
        options.json === true
          ? `${JSON.stringify(report)}\n`
          : renderDoctor(report, { color: useColor(options, process.stdout) }),
      );
      // As every command: the message on standard error, exit code 2.
      if (invalid !== null) throw invalid;
      if (!report.ok) process.exitCode = 1;
    });
}
