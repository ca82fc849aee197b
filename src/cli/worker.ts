import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import { requireDestinations } from '../config/requirements.js';
import { type GlobalOptions, idleExitOption, roleLogger } from './options.js';
import { runRole } from './runRole.js';

/** `ferry worker`: this one role. */
export function workerCommand(): Command {
  return new Command('worker')
    .description('send only: any number of them, on any hosts that reach Redis')
    .addOption(idleExitOption())
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { idleExit?: number }>();
      const config = loadConfig(options.config);
      requireDestinations(config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { startWorker } = await import('../workers/worker.js');
      const { startPipeline } = await import('./pipeline.js');
      const logger = roleLogger(options);
      await runRole({ logger, idleExitMs: options.idleExit }, () =>
        startPipeline(config, logger, [startWorker]),
      );
    });
}
