import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import { requireJournals } from '../config/requirements.js';
import { type GlobalOptions, idleExitOption, roleLogger } from './options.js';
import { runRole } from './runRole.js';

/** `ferry run`: producer, worker, and the dashboard where one is configured, in one process. */
export function runCommand(): Command {
  return new Command('run')
    .description('capture and send: producer and worker in one process')
    .addOption(idleExitOption())
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { idleExit?: number }>();
      const config = loadConfig(options.config);
      requireJournals(config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { startProducer } = await import('../producers/producer.js');
      const { startWorker } = await import('../workers/worker.js');
      const { startPipeline } = await import('./pipeline.js');
      const dashboard =
        config.dashboard === null ? null : await import('../dashboard/dashboard.js');
      const logger = roleLogger(options);
      await runRole({ logger, idleExitMs: options.idleExit }, () =>
        startPipeline(config, logger, [
          startProducer,
          startWorker,
          ...(dashboard === null ? [] : [dashboard.startDashboard]),
        ]),
      );
    });
}
