import { inTime } from '../common/within.js';
import type { ScriptConnection } from './scriptConnection.js';

/**
 * What commands ask Redis for: an operator waits for the answer.
 *
 * @throws FerryError why the server is refused; Error when it is silent for longer than `ms`
 */
export function patiently<T>(scripts: ScriptConnection, ms: number, work: Promise<T>): Promise<T> {
  return inTime(ms, work, (): never => {
    throw scripts.refusal ?? new Error('Redis does not answer');
  });
}
