import type { Logger } from 'pino';
import type { FerryConfig } from '../config/model.js';
import { connectRedis, type RedisClient, type RedisTarget } from './connection.js';
import { acquireEmbeddedRedis } from './embedded/acquire.js';
import { JobQueues } from './jobQueues.js';
import { Keys } from './keys.js';
import { MemoryRoom } from './memory.js';
import { RouteOrder } from './routeOrder.js';
import { ScriptConnection } from './scriptConnection.js';
import { Subscriber } from './subscriber.js';

/** Everything that a role needs of Redis, opened once per process. */
export interface QueueAccess {
  target: RedisTarget;
  keys: Keys;
  scripts: ScriptConnection;
  order: RouteOrder;
  queues: JobQueues;
  subscriber: Subscriber;
  /** For payload: waits while Redis is away, apart from the scripts so that it delays none. */
  data: RedisClient;
  /** Looked at before batches that wait are put into Redis. */
  memory: MemoryRoom;
  close(): Promise<void>;
}

/**
 * Opens Redis as the configuration says, starting the embedded one when that is asked for. Returns
 * without waiting for Redis to answer: what needs it waits for `scripts.ready()`.
 *
 * @throws FerryError REDIS_NOT_FOUND when the embedded one is wanted and no server is installed.
 */
export async function openQueueAccess(config: FerryConfig, log: Logger): Promise<QueueAccess> {
  const embedded =
    config.redis.kind === 'embedded'
      ? await acquireEmbeddedRedis({ stateDir: config.stateDir, logger: log })
      : null;
  const target: RedisTarget = {
    config: config.redis,
    ...(embedded === null ? {} : { socketPath: embedded.socketPath }),
  };
  const keys = new Keys(config.redis.prefix);
  const scripts = new ScriptConnection(target, log);
  const queues = new JobQueues(target, keys, log);
  const subscriber = new Subscriber(target);
  const data = connectRedis(target, 'queue');
  data.on('error', () => undefined); // said once by the script connection
  return {
    target,
    keys,
    scripts,
    order: new RouteOrder(scripts, keys),
    queues,
    subscriber,
    data,
    memory: new MemoryRoom(scripts),
    async close() {
      await queues.close();
      subscriber.close();
      data.disconnect();
      await scripts.close();
      await embedded?.release();
    },
  };
}
