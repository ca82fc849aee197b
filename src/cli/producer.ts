import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import { requireJournals } from '../config/requirements.js';
import { type GlobalOptions, idleExitOption, roleLogger } from './options.js';
import { runRole } from './runRole.js';

/** `ferry producer`: this one role. */
export function producerCommand(): Command {
  return new Command('producer')
    .description('capture only: journals to spool and Redis')
    .addOption(idleExitOption())
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { idleExit?: number }>();
      const config = loadConfig(options.config);
      requireJournals(config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { startProducer } = await import('../producers/producer.js');
      const { startPipeline } = await import('./pipeline.js');
      const logger = roleLogger(options);
      await runRole({ logger, idleExitMs: options.idleExit }, () =>
        startPipeline(config, logger, [startProducer]),
      );
    });
}
