import { userInfo } from 'node:os';
import type { Logger } from 'pino';
import { audit } from '../common/audit.js';
import { FerryError } from '../common/errors.js';
import type { FerryConfig } from '../config/model.js';
import { findRunningRedis } from '../queue/embedded/findRunning.js';
import { JobQueues } from '../queue/jobQueues.js';
import { batchJobId, Keys } from '../queue/keys.js';
import { RouteOrder } from '../queue/routeOrder.js';
import { ScriptConnection } from '../queue/scriptConnection.js';
import { wakeHead } from '../queue/wake.js';
import { redisAnswers, redisNotRunning } from './notRunning.js';
import { routesNamed } from './routeNames.js';

/** An operator waits for this answer. */
const PATIENCE_MS = 5_000;

/** What an operator can say about routes; none of it can change their order. */
export type VerdictKind =
  /** What is on its way is finished; then nothing is sent until `resume`. Captures go on. */
  | 'pause'
  | 'resume'
  /** A blocked batch gets fresh attempts, a retrying one its next attempt, now. */
  | 'replay';

/**
 * Applies a verdict to every route that the pattern names: a route, a glob, or a journal's name
 * where it has one route only. The producer takes a pause over into its spool at its next look.
 *
 * @param by who says so, for the audit log; default: the user of this process
 * @param sequence only for a route that is at this batch
 * @returns the routes it was applied to
 * @throws FerryError REDIS_NOT_RUNNING, ROUTE_UNKNOWN (kind usage), ROUTE_AMBIGUOUS (kind usage),
 *   REPLAY_WRONG_BATCH
 */
export async function applyVerdict(
  config: FerryConfig,
  log: Logger,
  kind: VerdictKind,
  pattern: string,
  { by = userInfo().username, sequence }: { by?: string; sequence?: number } = {},
): Promise<string[]> {
  const target = await findRunningRedis(config);
  if (target === null) throw redisNotRunning('the embedded Redis is not running');
  const keys = new Keys(config.redis.prefix);
  const scripts = new ScriptConnection(target, log);
  const queues = new JobQueues(target, keys, log);
  try {
    await redisAnswers(scripts, PATIENCE_MS);
    const order = new RouteOrder(scripts, keys);
    const routes = routesNamed(pattern, (await order.routes()).sort());
    if (sequence !== undefined) for (const route of routes) await mustBeAt(order, route, sequence);
    for (const route of routes) {
      await applyToRoute(order, queues, kind, route);
      await scripts.client.publish(keys.news(), `ack ${route}`);
      await audit(config.stateDir, { event: kind, route, detail: { by } });
    }
    return routes;
  } finally {
    await queues.close();
    await scripts.close();
  }
}

async function mustBeAt(order: RouteOrder, route: string, sequence: number): Promise<void> {
  const state = await order.state(route);
  if (state === null || state.head === sequence) return;
  throw new FerryError('REPLAY_WRONG_BATCH', `route ${route} is at batch ${state.head}`, {
    kind: 'storage',
    hint:
      sequence < state.head
        ? `what was delivered goes out again with: ferry replay ${route} --from ${sequence}`
        : 'the others follow by themselves',
    context: { route },
  });
}

async function applyToRoute(
  order: RouteOrder,
  queues: JobQueues,
  kind: VerdictKind,
  route: string,
): Promise<void> {
  const after = await order.hold(route, kind === 'replay' ? 'unblock' : kind);
  if (after === null || kind === 'pause') return;
  await wakeHead(order, queues, route);
  if (kind === 'replay' && after.head <= after.tail) {
    // One that sleeps until its interval is over is to be tried now.
    await queues.promoteBatch(batchJobId(route, after.generation, after.head));
  }
}
