import { Command } from 'commander';
import { whereKnown } from '../operator/routeNames.js';
import { operated } from '../ssl/daemons.js';
import { commandLogger, type GlobalOptions } from './options.js';
import { whileWaiting } from './progress.js';

/** `ferry pause ROUTE`: captures go on, nothing is sent. */
export function pauseCommand(): Command {
  return verdictCommand('pause', 'hold a route: captures go on, nothing is sent', 'paused');
}

/** `ferry resume ROUTE`. */
export function resumeCommand(): Command {
  return verdictCommand('resume', 'let a paused route go on', 'resumed');
}

function verdictCommand(kind: 'pause' | 'resume', description: string, done: string): Command {
  return new Command(kind)
    .description(description)
    .argument('<route>', 'a route (foo@replica), a journal with one route, or a glob')
    .action(async (pattern: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const { configs } = await operated(options.config);
      // Loaded only now: `ferry --help` and the other commands need no queue.
      const { applyVerdict } = await import('../operator/verdicts.js');
      const log = commandLogger(options);
      const routes = await whileWaiting(
        'waiting for Redis',
        whereKnown(configs, (config) => applyVerdict(config, log, kind, pattern)),
      );
      for (const route of routes.flat()) process.stdout.write(`${route}: ${done}\n`);
    });
}
