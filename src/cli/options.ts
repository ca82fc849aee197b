import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  createLogger,
  LOG_FORMATS,
  LOG_LEVELS,
  type LogFormat,
  type Logger,
  type LogLevel,
} from '../common/logger.js';
import { parseDuration } from '../config/units.js';

/** Options that every command takes, before or after its name. */
export interface GlobalOptions {
  config: string;
  logLevel?: LogLevel;
  logFormat?: LogFormat;
  /** False with `--no-color`. */
  color: boolean;
}

export function addGlobalOptions(program: Command): Command {
  return program
    .option('-c, --config <file>', 'configuration file', 'ferry.yaml')
    .addOption(
      new Option('--log-level <level>', 'least important messages to log').choices(LOG_LEVELS),
    )
    .addOption(
      new Option('--log-format <format>', 'default: pretty on a terminal, else json').choices(
        LOG_FORMATS,
      ),
    )
    .option('--no-color', 'no colours');
}

/** The option of the roles that end by themselves. */
export function idleExitOption(): Option {
  return new Option('--idle-exit <duration>', 'end when nothing happened for so long').argParser(
    (text) => {
      const milliseconds = parseDuration(text);
      if (milliseconds !== null && milliseconds > 0) return milliseconds;
      throw new InvalidArgumentError('Expected a duration such as 30s or 5m.');
    },
  );
}

/** Whether a stream gets colours: a terminal, and nobody said no. */
export function useColor(options: GlobalOptions, stream: NodeJS.WriteStream): boolean {
  return options.color && stream.isTTY === true && !process.env['NO_COLOR'];
}

/** The logger of a role: its log is its output. */
export function roleLogger(options: GlobalOptions): Logger {
  return makeLogger(options, process.stdout, 1, 'info');
}

/** The logger of a command whose output is something else: on standard error, warnings only. */
export function commandLogger(options: GlobalOptions): Logger {
  return makeLogger(options, process.stderr, 2, 'warn');
}

function makeLogger(
  options: GlobalOptions,
  stream: NodeJS.WriteStream,
  destination: 1 | 2,
  level: LogLevel,
): Logger {
  return createLogger({
    level: options.logLevel ?? level,
    format: options.logFormat ?? (stream.isTTY === true ? 'pretty' : 'json'),
    color: useColor(options, stream),
    destination,
  });
}
