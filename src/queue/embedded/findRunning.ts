import type { FerryConfig } from '../../config/model.js';
import type { RedisTarget } from '../connection.js';
import { ping } from './ping.js';
import { readRecordOf } from './places.js';

/** What is said then. */
export const EMBEDDED_NOT_RUNNING =
  'the embedded Redis is not running: no role of this state directory is';

/**
 * Redis for commands that only look or say something: an embedded one is never started by them,
 * and they make nothing: run by another user, they would leave directories that are not ours.
 *
 * @returns null when the embedded server is not running
 */
export async function findRunningRedis(config: FerryConfig): Promise<RedisTarget | null> {
  if (config.redis.kind === 'url') return { config: config.redis };
  const record = await readRecordOf(config.stateDir);
  if (record === null || (await ping(record.socketPath)) === 'none') return null;
  return { config: config.redis, socketPath: record.socketPath };
}
