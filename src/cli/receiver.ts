import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import { requireReceiver } from '../config/requirements.js';
import { type GlobalOptions, roleLogger } from './options.js';
import { runRole } from './runRole.js';

/** `ferry receiver`: the far end. */
export function receiverCommand(): Command {
  return new Command('receiver')
    .description('receive: store what other hosts send, and apply it')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const config = requireReceiver(loadConfig(options.config));
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { startReceiver } = await import('../receiver/receiver.js');
      const logger = roleLogger(options);
      await runRole({ logger }, () => startReceiver(config, logger));
    });
}
