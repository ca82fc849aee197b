import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import { printConfig } from '../config/print.js';
import { jsonSchema } from '../config/schema.js';
import type { GlobalOptions } from './options.js';

/** `ferry config check|print|schema`. */
export function configCommand(): Command {
  const config = new Command('config').description('check and show the configuration');
  config
    .command('check')
    .description('validate the file; says every problem with its line; exit code 2 if there is any')
    .action((_options: unknown, command: Command) => {
      const { config: file } = command.optsWithGlobals<GlobalOptions>();
      const loaded = loadConfig(file);
      const counts = [
        count(loaded.journals.length, 'journal rule'),
        count(loaded.destinations.size, 'destination'),
        ...(loaded.receiver === null ? [] : ['a receiver']),
        ...(loaded.dashboard === null ? [] : ['a dashboard']),
      ];
      process.stdout.write(`${file} is valid: ${counts.join(', ')}\n`);
    });
  config
    .command('print')
    .description('the configuration in effect: every default filled in, secrets as ***')
    .action((_options: unknown, command: Command) => {
      process.stdout.write(
        printConfig(loadConfig(command.optsWithGlobals<GlobalOptions>().config)),
      );
    });
  config
    .command('schema')
    .description('JSON Schema of the file, for editors')
    .action(() => {
      process.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
    });
  return config;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
