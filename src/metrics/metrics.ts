import type { Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Meter, ReceiverMeter } from '../common/meter.js';
import type { ReadyCheck, Role } from '../common/role.js';
import type { ListenAddress } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import { journalGauges, pipelineMeter } from './pipelineMeter.js';
import { type ReceiverGauges, receiverMeter } from './receiverMeter.js';
import { redisCheck, redisMetrics } from './redisMetrics.js';
import { MetricsServer } from './server.js';

const STARTING: ReadyCheck = { name: 'start', ok: false, message: 'the process is starting' };

/**
 * The metrics and health of one process: one registry for all of its roles, and its port. It
 * listens before the roles start, so that a port that is taken stops them in time; until then the
 * process lives and is not ready.
 */
export class Metrics {
  readonly #registry = new Registry();
  #checks: () => Promise<readonly ReadyCheck[]> = async () => [STARTING];
  #server: MetricsServer | null = null;

  /** @throws FerryError METRICS_LISTEN_FAILED (kind usage) */
  static async start(listen: ListenAddress, log: Logger): Promise<Metrics> {
    const metrics = new Metrics();
    collectDefaultMetrics({ register: metrics.#registry });
    metrics.#server = await MetricsServer.start(listen, {
      registry: metrics.#registry,
      checks: () => metrics.#checks(),
    });
    log.info({ metrics: metrics.#server.address }, 'metrics and health listen');
    return metrics;
  }

  /** What producers and workers count with; asked for once. */
  pipelineMeter(): Meter {
    return pipelineMeter(this.#registry);
  }

  /** What a receiver counts with; asked for once. */
  receiverMeter(receiver: ReceiverGauges): ReceiverMeter {
    return receiverMeter(this.#registry, receiver);
  }

  /** The roles of the pipeline run: what they know is shown from now on. */
  pipelineRuns(access: QueueAccess, roles: readonly Role[]): void {
    redisMetrics(this.#registry, access);
    const producers = roles.filter((role) => role.journals !== undefined);
    if (producers.length > 0) {
      journalGauges(this.#registry, () =>
        producers.flatMap((role) => [...(role.journals?.() ?? [])]),
      );
    }
    this.#checks = async () => [
      await redisCheck(access),
      ...roles.flatMap((role) => role.readiness()),
    ];
  }

  receiverRuns({ host, port }: ListenAddress): void {
    const check = { name: 'receiver', ok: true, message: `listens on ${host}:${port}` };
    this.#checks = async () => [check];
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }
}
