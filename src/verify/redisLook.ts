import type { Logger } from 'pino';
import { asError } from '../common/errors.js';
import type { FerryConfig } from '../config/model.js';
import { EMBEDDED_NOT_RUNNING, findRunningRedis } from '../queue/embedded/findRunning.js';
import type { BatchJob } from '../queue/jobs.js';
import { Keys } from '../queue/keys.js';
import { patiently } from '../queue/patience.js';
import { RouteOrder } from '../queue/routeOrder.js';
import { parseState } from '../queue/routeState.js';
import { ScriptConnection } from '../queue/scriptConnection.js';
import type { RouteInRedis } from './redisProof.js';

/** An operator waits for the first answer, and for none longer than this. */
const PATIENCE_MS = 3_000;

export interface RedisLook {
  /** Every route that Redis knows. */
  routes: string[];
  /** @throws when Redis goes away, or is silent for too long */
  at(route: string): Promise<RouteInRedis>;
  close(): Promise<void>;
}

/** Starts nothing. A sentence: why Redis cannot be looked at. */
export async function lookAtRedis(config: FerryConfig, log: Logger): Promise<RedisLook | string> {
  const target = await findRunningRedis(config);
  if (target === null) return EMBEDDED_NOT_RUNNING;
  const scripts = new ScriptConnection(target, log.child({}, { level: 'silent' }));
  const keys = new Keys(config.redis.prefix);
  try {
    const asked = scripts.ready().then(() => new RouteOrder(scripts, keys).routes());
    const routes = await patiently(scripts, PATIENCE_MS, asked);
    return {
      routes,
      at: (route: string) => patiently(scripts, PATIENCE_MS, routeAt(scripts, keys, route)),
      close: () => scripts.close(),
    };
  } catch (error) {
    await scripts.close();
    return asError(error).message;
  }
}

/** Hash and batches as they were at one moment. */
async function routeAt(
  scripts: ScriptConnection,
  keys: Keys,
  route: string,
): Promise<RouteInRedis> {
  const both = scripts.client.multi().hgetall(keys.route(route)).hvals(keys.batches(route));
  const [hash, batches] = ((await both.exec()) ?? []).map(([error, value]) => {
    if (error !== null) throw error;
    return value;
  });
  return {
    state: parseState((hash ?? {}) as Record<string, string>),
    accepted: ((batches ?? []) as string[]).map((raw) => JSON.parse(raw) as BatchJob),
  };
}
