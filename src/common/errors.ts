/**
 * The one base class of every error that journal-ferry raises on purpose.
 *
 * Errors travel up as values of these classes and are logged once, at the edge (CLI command,
 * worker processor, producer loop). Whether to retry is decided by `retry`, never by text.
 */

/** What kind of trouble it is, which decides the process exit code at the edge. */
export type ErrorKind =
  /** Wrong command line or configuration: exit code 2, nothing was started. */
  | 'usage'
  /** The far side or the network: the batch stays, the route retries. */
  | 'destination'
  /** Our own files: journal, spool, received data. */
  | 'storage'
  /** Redis is away or refuses. */
  | 'redis'
  /** Neither: a state that the code holds to be impossible. */
  | 'internal';

export interface FerryErrorOptions {
  kind: ErrorKind;
  /** What the operator can do about it: one sentence. */
  hint?: string;
  /** False when trying the same again can never help. Default: true for destination, storage, redis. */
  retry?: boolean;
  /** Names, paths, numbers for the log. Never key text or payload. */
  context?: Readonly<Record<string, unknown>>;
  cause?: unknown;
}

export class FerryError extends Error {
  /** Stable, upper-case, for scripts and metrics: `KEY_REJECTED`, `LOCK_BUSY`. */
  readonly code: string;
  readonly kind: ErrorKind;
  readonly hint: string | undefined;
  readonly retry: boolean;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, options: FerryErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'FerryError';
    this.code = code;
    this.kind = options.kind;
    this.hint = options.hint;
    this.retry = options.retry ?? (options.kind !== 'usage' && options.kind !== 'internal');
    this.context = options.context ?? {};
  }
}

/** The `code` of a Node system error (`ENOENT`), or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string')
    return error.code;
  return undefined;
}

/** Any thrown value as an Error, so that `cause` and logs always have a stack. */
export function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}

/** One sentence for people: message and hint. */
export function describe(error: unknown): string {
  const e = asError(error);
  return e instanceof FerryError && e.hint !== undefined ? `${e.message}: ${e.hint}` : e.message;
}
