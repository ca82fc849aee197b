import { createRequire } from 'node:module';
import {
  type DestinationStream,
  type LogFn,
  type Logger,
  type LoggerOptions,
  pino,
  stdSerializers,
} from 'pino';
import { FerryError } from './errors.js';
import { maskUrls } from './maskUrls.js';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ['json', 'pretty'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LoggerSettings {
  level: LogLevel;
  format: LogFormat;
  /** Colours in `pretty`; ignored in `json`. */
  color: boolean;
  /** A stream or file descriptor; default: standard output. */
  destination?: DestinationStream | number;
}

/**
 * Fields that must not reach a log, at the top of a record and one or two levels down. They should
 * not be logged in the first place; this is the net below.
 */
const SECRET_FIELDS = [
  'password',
  'passphrase',
  'secret',
  'token',
  'key',
  'keyText',
  'privateKey',
  'authorization',
  'scrypt',
];

/** An error as a log record: a FerryError keeps code, hint and context; stacks only for bugs. */
export function serializeError(value: unknown): Record<string, unknown> {
  if (!(value instanceof Error)) return { message: maskUrls(String(value)) };
  if (!(value instanceof FerryError)) {
    const plain = stdSerializers.err(value);
    return {
      type: plain.type,
      message: maskUrls(plain.message),
      ...('code' in value ? { code: value.code } : {}),
      stack: maskUrls(plain.stack),
    };
  }
  return {
    type: 'FerryError',
    code: value.code,
    kind: value.kind,
    message: maskUrls(value.message),
    ...(value.hint === undefined ? {} : { hint: value.hint }),
    ...(Object.keys(value.context).length === 0 ? {} : { context: value.context }),
    ...(value.cause === undefined ? {} : { cause: serializeError(value.cause) }),
    ...(value.kind === 'internal' && value.stack !== undefined ? { stack: value.stack } : {}),
  };
}

/** Messages too may quote an url, and an error logged without a message becomes one. */
function maskMessages(this: Logger, inputs: Parameters<LogFn>, method: LogFn): void {
  const [first, ...rest]: unknown[] = inputs;
  const masked = rest.map((value) => (typeof value === 'string' ? maskUrls(value) : value));
  const error = first instanceof Error ? first : (first as { err?: unknown } | null)?.err;
  if (rest.length === 0 && error instanceof Error) masked.push(maskUrls(error.message));
  const head = typeof first === 'string' ? maskUrls(first) : first;
  method.apply(this, [head, ...masked] as Parameters<LogFn>);
}

/** The one way to make a logger: same levels, same redaction, same shape of errors everywhere. */
export function createLogger(settings: LoggerSettings): Logger {
  const options: LoggerOptions = {
    level: settings.level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: serializeError, error: serializeError },
    hooks: { logMethod: maskMessages },
    redact: {
      paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
      censor: '***',
    },
  };
  const destination = settings.destination ?? 1;
  if (settings.format === 'json') {
    // Synchronous: the last line before a crash is the one that is needed most.
    return pino(
      options,
      typeof destination === 'number'
        ? pino.destination({ fd: destination, sync: true })
        : destination,
    );
  }
  // Loaded only here: nobody but a reader at a terminal needs it.
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
  const stream = pretty({
    colorize: settings.color,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname',
    sync: true,
    destination,
  });
  return pino(options, stream);
}
