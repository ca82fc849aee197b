import { FerryError } from '../common/errors.js';

/** Nothing can be said to a Redis that is not there. */
export function redisNotRunning(what: string): FerryError {
  return new FerryError('REDIS_NOT_RUNNING', what, {
    kind: 'redis',
    hint: 'start the producer, or see what is wrong with Redis: ferry doctor',
  });
}
