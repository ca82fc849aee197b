import { Command } from 'commander';
import { hashPassword } from '../common/password.js';
import { loadConfig } from '../config/load.js';
import { requireDashboard } from '../config/requirements.js';
import { type GlobalOptions, roleLogger } from './options.js';
import { readPassword } from './readPassword.js';
import { runRole } from './runRole.js';

const MORE_HELP = `
Its address and users stand in the configuration, for example:
  dashboard: {listen: 127.0.0.1:3000, users: [{name: ops, password: {scrypt: HASH}}]}
HASH is what  ferry dashboard --hash-password  prints. Without users it listens on loopback only.`;

/** `ferry dashboard`: this one role; `ferry dashboard --hash-password`. */
export function dashboardCommand(): Command {
  return new Command('dashboard')
    .description('pages that show every route and act on it; the Bull dashboard')
    .option('--hash-password', 'read a password from standard input, print its hash, and end')
    .addHelpText('after', MORE_HELP)
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { hashPassword?: boolean }>();
      if (options.hashPassword === true) {
        process.stdout.write(`${await hashPassword(await readPassword())}\n`);
        return;
      }
      const config = loadConfig(options.config);
      requireDashboard(config);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { dashboardRole } = await import('../dashboard/dashboard.js');
      const { startPipeline } = await import('./pipeline.js');
      const role = await dashboardRole(config, { beside: false });
      const logger = roleLogger(options);
      await runRole({ logger }, () => startPipeline(config, logger, [role]));
    });
}
