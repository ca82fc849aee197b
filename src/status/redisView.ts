import type { Logger } from 'pino';
import { asError, describe } from '../common/errors.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import { EMBEDDED_NOT_RUNNING, findRunningRedis } from '../queue/embedded/findRunning.js';
import type { BatchJob } from '../queue/jobs.js';
import { Keys } from '../queue/keys.js';
import { type RedisMemory, readMemory } from '../queue/memory.js';
import { patiently } from '../queue/patience.js';
import { RouteOrder } from '../queue/routeOrder.js';
import type { RouteError, RouteState } from '../queue/routeState.js';
import { ScriptConnection } from '../queue/scriptConnection.js';
import type { StatusReport } from './report.js';

/** A look at Redis gives up after this long: an operator waits for the answer. */
const PATIENCE_MS = 3_000;

export interface RedisView {
  summary: StatusReport['redis'];
  routes: Map<
    string,
    {
      state: RouteState;
      blobError: RouteError | null;
      pendingBytes: number;
      oldestSealedAtMs: number | null;
      /** What waits there, ascending; only where `wantBatches` asked for it. */
      batches: readonly BatchJob[];
    }
  >;
  /** null: not known, since Redis is away. */
  memory: RedisMemory | null;
}

/**
 * Everything that status needs of Redis, in one look; an empty one when Redis is away.
 *
 * @param wantBatches of which routes each batch is wanted: what waits in Redis may be much
 */
export async function viewRedis(
  config: FerryConfig,
  log: Logger,
  wantBatches: (route: string) => boolean = () => false,
): Promise<RedisView> {
  const target = await findRunningRedis(config);
  if (target === null) return away(EMBEDDED_NOT_RUNNING);
  const scripts = new ScriptConnection(target, log.child({}, { level: 'silent' }));
  try {
    return await lookInTime(scripts, new Keys(config.redis.prefix), wantBatches);
  } finally {
    await scripts.close();
  }
}

/** The same on a connection that is kept open; whether Redis is there it knows already. */
export async function viewRedisThrough({ scripts, keys }: QueueAccess): Promise<RedisView> {
  if (scripts.facts !== null) return lookInTime(scripts, keys);
  return away(scripts.refusal === null ? 'it cannot be reached' : describe(scripts.refusal));
}

async function lookInTime(
  scripts: ScriptConnection,
  keys: Keys,
  wantBatches: (route: string) => boolean = () => false,
): Promise<RedisView> {
  try {
    return await patiently(scripts, PATIENCE_MS, look(scripts, keys, wantBatches));
  } catch (error) {
    return away(asError(error).message);
  }
}

async function look(
  scripts: ScriptConnection,
  keys: Keys,
  wantBatches: (route: string) => boolean,
): Promise<RedisView> {
  const facts = await scripts.ready();
  const order = new RouteOrder(scripts, keys);
  const routes: RedisView['routes'] = new Map();
  const lookAt = async (route: string): Promise<void> => {
    const state = await order.state(route);
    if (state === null) return;
    let pendingBytes = 0;
    let oldestSealedAtMs: number | null = null;
    const batches: BatchJob[] = [];
    const wanted = wantBatches(route);
    for (const raw of Object.values(await scripts.client.hgetall(keys.batches(route)))) {
      const batch = JSON.parse(raw) as BatchJob;
      if (batch.sequence < state.head) continue;
      pendingBytes += batch.bytes;
      oldestSealedAtMs = Math.min(oldestSealedAtMs ?? batch.sealedAtMs, batch.sealedAtMs);
      if (wanted) batches.push(batch);
    }
    const blobError = await order.blobError(route);
    batches.sort((a, b) => a.sequence - b.sequence);
    routes.set(route, { state, blobError, pendingBytes, oldestSealedAtMs, batches });
  };
  // All at once: one connection pipelines them.
  await Promise.all((await order.routes()).map(lookAt));
  const memory = await scripts.ask(readMemory);
  return { summary: { ok: true, durability: facts.durability, error: null }, routes, memory };
}

function away(error: string): RedisView {
  return { summary: { ok: false, durability: null, error }, routes: new Map(), memory: null };
}
