import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import { requireReceiver } from '../config/requirements.js';
import type { Receiver } from '../receiver/receiver.js';
import { type GlobalOptions, roleLogger } from './options.js';
import { whileWaiting } from './progress.js';
import { runRole } from './runRole.js';

/** `ferry receiver`: the far end. */
export function receiverCommand(): Command {
  return new Command('receiver')
    .description('receive: store what other hosts send, and apply it')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const config = loadConfig(options.config);
      const receiverConfig = requireReceiver(config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { startReceiver } = await import('../receiver/receiver.js');
      const { startMetrics } = await import('./metrics.js');
      const logger = roleLogger(options);
      await runRole({ logger }, async () => {
        const metrics = await startMetrics(config, logger);
        const reading = 'reading the index of what was received';
        if (metrics === null) {
          return whileWaiting(reading, startReceiver(receiverConfig, logger));
        }
        let receiver: Receiver | null = null;
        const meter = metrics.receiverMeter({
          connections: () => receiver?.connections() ?? 0,
          apps: () => receiver?.apps() ?? [],
        });
        const running = await whileWaiting(
          reading,
          startReceiver(receiverConfig, logger, { meter }),
        );
        receiver = running;
        metrics.receiverRuns(running.address);
        const stop = (): Promise<void> => running.stop().finally(() => metrics.stop());
        return { ...running, stop };
      });
    });
}
