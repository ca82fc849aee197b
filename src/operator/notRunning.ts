import { FerryError } from '../common/errors.js';
import { inTime } from '../common/within.js';
import type { ScriptConnection } from '../queue/scriptConnection.js';

/** Nothing can be said to a Redis that is not there. */
export function redisNotRunning(what: string): FerryError {
  return new FerryError('REDIS_NOT_RUNNING', what, {
    kind: 'redis',
    hint: 'start the producer, or see what is wrong with Redis: ferry doctor',
  });
}

/** @throws FerryError REDIS_NOT_RUNNING after `ms`, or why the server is refused */
export async function redisAnswers(scripts: ScriptConnection, ms: number): Promise<void> {
  await inTime(ms, scripts.ready(), (): never => {
    throw scripts.refusal ?? redisNotRunning('Redis does not answer');
  });
}
