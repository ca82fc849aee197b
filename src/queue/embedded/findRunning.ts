import { stat } from 'node:fs/promises';
import type { FerryConfig } from '../../config/model.js';
import type { RedisTarget } from '../connection.js';
import { ping } from './ping.js';
import { preparePlaces, readRecord } from './places.js';

/**
 * Redis for commands that only look or say something: an embedded one is never started by them.
 *
 * @returns null when the embedded server is not running
 */
export async function findRunningRedis(config: FerryConfig): Promise<RedisTarget | null> {
  if (config.redis.kind === 'url') return { config: config.redis };
  const exists = await stat(config.stateDir).then(
    () => true,
    () => false,
  );
  if (!exists) return null;
  const record = await readRecord(await preparePlaces(config.stateDir));
  if (record === null || (await ping(record.socketPath)) === 'none') return null;
  return { config: config.redis, socketPath: record.socketPath };
}
