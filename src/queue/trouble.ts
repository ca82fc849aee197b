import { asError, FerryError } from '../common/errors.js';

/** Redis cannot be asked now. */
export function redisAway(what: string, cause?: unknown): FerryError {
  return new FerryError('REDIS_AWAY', `Redis: ${what}`, {
    kind: 'redis',
    hint: 'nothing is lost; work resumes by itself when Redis answers',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Redis has no memory left for what would be put there. */
export function redisFull(what: string, cause?: unknown): FerryError {
  return new FerryError('REDIS_FULL', `Redis has no memory left: ${what}`, {
    kind: 'redis',
    hint: 'nothing is lost, batches wait in the spool and go on when others are confirmed; look for a destination that is down, raise maxmemory, or lower limits.queued',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What a failed command of ours means: full, or away for whatever reason. */
export function redisTrouble(what: string, cause: unknown): FerryError {
  if (cause instanceof FerryError && cause.kind === 'redis') return cause;
  // Inside a script the word stands behind others.
  if (/\bOOM command not allowed/.test(asError(cause).message)) return redisFull(what, cause);
  return redisAway(what, cause);
}
