import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { hashPassword } from '../common/password.js';
import { loadConfig } from '../config/load.js';
import { requireDashboard } from '../config/requirements.js';
import { type GlobalOptions, roleLogger } from './options.js';
import { runRole } from './runRole.js';

/** `ferry dashboard`: this one role; `ferry dashboard --hash-password`. */
export function dashboardCommand(): Command {
  return new Command('dashboard')
    .description('pages that show every route and act on it; the Bull dashboard')
    .option('--hash-password', 'read a password from standard input, print its hash, and end')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { hashPassword?: boolean }>();
      if (options.hashPassword === true) {
        const password = (await text(process.stdin)).replace(/\r?\n$/, '');
        process.stdout.write(`${await hashPassword(password)}\n`);
        return;
      }
      const config = loadConfig(options.config);
      requireDashboard(config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { startDashboard } = await import('../dashboard/dashboard.js');
      const { startPipeline } = await import('./pipeline.js');
      const logger = roleLogger(options);
      await runRole({ logger }, () => startPipeline(config, logger, [startDashboard]));
    });
}
