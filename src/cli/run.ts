import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import type { FerryConfig } from '../config/model.js';
import { requireJournals } from '../config/requirements.js';
import { type GlobalOptions, idleExitOption, roleLogger } from './options.js';
import { runRole } from './runRole.js';

/** `ferry run`: producer, worker, and the dashboard where one is configured, in one process. */
export function runCommand(): Command {
  return new Command('run')
    .description(
      'capture and send: producer and worker in one process, and the dashboard if configured',
    )
    .addOption(idleExitOption())
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { idleExit?: number }>();
      const config = loadConfig(options.config);
      requireJournals(config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { startProducer } = await import('../producers/producer.js');
      const { startWorker } = await import('../workers/worker.js');
      const { startPipeline } = await import('./pipeline.js');
      const dashboard = await dashboardBeside(config);
      const logger = roleLogger(options);
      await runRole({ logger, idleExitMs: options.idleExit }, () =>
        startPipeline(config, logger, [startProducer, startWorker, ...dashboard]),
      );
    });
}

/** The dashboard, where one is configured; loaded only then. */
async function dashboardBeside(config: FerryConfig) {
  if (config.dashboard === null) return [];
  const { dashboardRole } = await import('../dashboard/dashboard.js');
  return [await dashboardRole(config, { beside: true })];
}
