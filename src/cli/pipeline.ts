import type { Logger } from '../common/logger.js';
import { NO_METER } from '../common/meter.js';
import type { StartProgress } from '../common/progress.js';
import type { Role, RoleContext } from '../common/role.js';
import type { FerryConfig } from '../config/model.js';
import { openQueueAccess, type QueueAccess } from '../queue/access.js';
import { startMetrics } from './metrics.js';
import { progressOn } from './progress.js';
import type { Running } from './runRole.js';

type StartRole = (config: FerryConfig, access: QueueAccess, context: RoleContext) => Promise<Role>;

/**
 * Starts roles of the pipeline in this process, on one Redis access, as one thing to stop.
 *
 * @param progress shows long work of the start; `ferry ssl` has no such output
 */
export async function startPipeline(
  config: FerryConfig,
  logger: Logger,
  starts: readonly StartRole[],
  progress: StartProgress = progressOn(process.stderr),
): Promise<Running> {
  const metrics = await startMetrics(config, logger);
  const access = await openQueueAccess(config, logger).catch(async (error: unknown) => {
    await metrics?.stop();
    throw error;
  });
  const meter = metrics?.pipelineMeter() ?? NO_METER;
  const roles: Role[] = [];
  const stop = async () => {
    const results = await Promise.allSettled(roles.map((role) => role.stop()));
    await access.close();
    await metrics?.stop();
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  };
  try {
    for (const start of starts)
      roles.push(await start(config, access, { logger, meter, progress }));
    metrics?.pipelineRuns(access, roles);
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
  return {
    stop,
    lastActiveAt: () => Math.max(...roles.map((role) => role.lastActiveAt())),
    failed: Promise.race(roles.map((role) => role.failed)),
  };
}
