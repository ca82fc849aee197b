import { connectRedis, type RedisClient, type RedisTarget } from './connection.js';

/**
 * What stands in front of each of BullMQ's scripts, as HDEL does in ours: Redis refuses a script's
 * first growing write when its memory is full, and this one, which frees nothing, is allowed. Else
 * no job could begin, end or be woken then, and so nothing be confirmed and freed. What fills the
 * memory is refused before: payload and `accept`, without which there is no job.
 */
const EVEN_WHEN_FULL = `if KEYS[1] then redis.call('UNLINK', KEYS[1] .. ':none') end\n`;

/** A connection for BullMQ; its trouble is said once by the script connection. */
export function connectBullMq(target: RedisTarget): RedisClient {
  const client = connectRedis(target, 'queue');
  client.on('error', () => undefined);
  const define = client.defineCommand.bind(client);
  client.defineCommand = (name, definition) =>
    define(name, { ...definition, lua: EVEN_WHEN_FULL + definition.lua });
  return client;
}
