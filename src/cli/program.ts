import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { resource } from '../common/resources.js';
import { batchesCommand } from './batches.js';
import { configCommand } from './config.js';
import { dashboardCommand } from './dashboard.js';
import { doctorCommand } from './doctor.js';
import { addGlobalOptions } from './options.js';
import { producerCommand } from './producer.js';
import { receiverCommand } from './receiver.js';
import { replayCommand } from './replay.js';
import { runCommand } from './run.js';
import { skipCommand } from './skip.js';
import { statusCommand } from './status.js';
import { pauseCommand, resumeCommand } from './verdict.js';
import { verifyCommand } from './verify.js';
import { workerCommand } from './worker.js';

/** The whole command line. Usage errors are thrown as CommanderError, after their message. */
export function createProgram(): Command {
  const program = new Command('ferry')
    .description('Ships what databases append to their journals over TLS, durable and in order.')
    .version(packageVersion(), '-V, --version')
    .showHelpAfterError('(ferry --help lists commands and options)')
    .showSuggestionAfterError()
    .helpCommand(true);
  addGlobalOptions(program);
  const commands = [
    runCommand(),
    producerCommand(),
    workerCommand(),
    dashboardCommand(),
    receiverCommand(),
    statusCommand(),
    batchesCommand(),
    pauseCommand(),
    resumeCommand(),
    replayCommand(),
    skipCommand(),
    verifyCommand(),
    doctorCommand(),
    configCommand(),
    sslCommand(),
  ];
  for (const command of commands) program.addCommand(command);
  for (const command of [program, ...commands, ...commands.flatMap((parent) => parent.commands)]) {
    command.exitOverride().copyInheritedSettings(program);
  }
  return program;
}

/** For the list of commands only: `main.ts` takes its words before commander sees them. */
function sslCommand(): Command {
  return new Command('ssl')
    .description('bin/ssl’s command line, argument for argument: ferry ssl --help')
    .argument('[words...]');
}

/** From the package's own description, which lies beside `dist` in every installation. */
export function packageVersion(): string {
  const file = resource('../../package.json');
  const { version }: { version: string } = JSON.parse(readFileSync(file, 'utf8'));
  return version;
}
