import { asError, FerryError } from '../common/errors.js';
import { isOfDestination } from '../queue/destinationTrouble.js';
import type { Failure } from '../queue/routeAnswers.js';
import type { RouteError } from '../queue/routeState.js';
import { PAYLOAD_DAMAGED } from './provenPayload.js';

/** Why an attempt ended without a confirmation, and so what becomes of the job. */
export type AttemptEnd =
  /**
   * The destination's doing, or our set-up's: recorded, retried at the route's interval.
   * `isAway`: others to that destination would not get through either.
   */
  | { is: 'failed'; failure: Failure; isAway: boolean }
  /** The right to send was lost: another worker goes on, nothing is recorded. */
  | { is: 'lost' }
  /** This process stops: the job is free for others at once. */
  | { is: 'stopped' }
  /** Redis is away: nothing is known, BullMQ tries again. */
  | { is: 'redis-away' };

/** Sorts the error of an attempt; never looks at its text. */
export function attemptEnd(error: unknown, stopping: boolean): AttemptEnd {
  const e = asError(error);
  if (e instanceof FerryError) {
    if (e.code === 'LEASE_LOST') return { is: 'lost' };
    if (e.code === 'ABORTED' || e.code === 'STOPPING') {
      return { is: stopping ? 'stopped' : 'lost' };
    }
    // A full one answers: its error is recorded, and the lease given back.
    if (e.kind === 'redis' && e.code !== 'REDIS_FULL') return { is: 'redis-away' };
  }
  if (stopping && e.name === 'AbortError') return { is: 'stopped' };
  // It can never be confirmed: with `attempts` it comes to be the operator's.
  const damaged = e instanceof FerryError && e.code === PAYLOAD_DAMAGED;
  const fromDestination = e instanceof FerryError && e.kind === 'destination';
  const afterT = e instanceof FerryError && e.context['afterT'] === true;
  // It is well and will take the batch later: no reason to block a route, nor to repeat anything.
  const turnedAway = e instanceof FerryError && e.code === 'RECEIVER_LIMIT';
  const echoed = e instanceof FerryError && e.context['echoed'] === true;
  return {
    is: 'failed',
    isAway: e instanceof FerryError && isOfDestination(e.code),
    failure: {
      error: routeError(e),
      counted: (fromDestination && !turnedAway) || damaged,
      uncertain: afterT,
      resend: fromDestination && !echoed && !turnedAway,
      echoed,
    },
  };
}

function routeError(e: Error): RouteError {
  const at = Date.now();
  if (!(e instanceof FerryError)) return { code: 'INTERNAL', message: e.message, at };
  return {
    code: e.code,
    message: e.message,
    at,
    ...(typeof e.context['reason'] === 'string' ? { reason: e.context['reason'] } : {}),
    ...(e.hint === undefined ? {} : { hint: e.hint }),
  };
}
