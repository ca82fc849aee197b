import type { ReadyCheck, Role, RoleContext } from '../common/role.js';
import type { FerryConfig } from '../config/model.js';
import { requireDashboard } from '../config/requirements.js';
import type { QueueAccess } from '../queue/access.js';
import { makeApp } from './app.js';
import { Listener } from './listener.js';
import { Overview } from './overview.js';
import { Users } from './users.js';

export interface DashboardOptions {
  /** In a process that ships: a port that is taken is said and tried again, and stops nothing. */
  beside: boolean;
}

/**
 * Reads the passwords, before anything is started, and answers the role.
 *
 * The dashboard only looks, and says to routes what an operator clicks: with Redis away it says so
 * and goes on by itself.
 *
 * @throws FerryError CONFIG_INVALID, DASHBOARD_PASSWORD (kind usage); the role when it starts, not
 *   `beside`: DASHBOARD_LISTEN_FAILED (kind usage)
 */
export async function dashboardRole(
  config: FerryConfig,
  { beside }: DashboardOptions,
): Promise<(config: FerryConfig, access: QueueAccess, context: RoleContext) => Promise<Role>> {
  const dashboard = requireDashboard(config);
  const users = await Users.of(dashboard.users);
  return async (_config, access, { logger }) => {
    const log = logger.child({ role: 'dashboard' });
    const overview = new Overview(config, access, log);
    const { port } = dashboard.listen;
    const app = makeApp({ config, port, access, users, overview, log });
    const listener = new Listener(app, dashboard.listen, log);
    try {
      if (beside) await listener.keepTrying();
      else await listener.listen();
    } catch (error) {
      await overview.stop();
      throw error;
    }
    log.info({ users: dashboard.users.length }, 'dashboard started');
    return new Dashboard(listener, overview, beside);
  };
}

class Dashboard implements Role {
  readonly failed = new Promise<never>(() => undefined);
  #stopped: Promise<unknown> | null = null;

  constructor(
    private readonly listener: Listener,
    private readonly overview: Overview,
    private readonly beside: boolean,
  ) {}

  async stop(): Promise<void> {
    this.#stopped ??= Promise.all([this.listener.stop(), this.overview.stop()]);
    await this.#stopped;
  }

  /** Somebody who looks is no work: it keeps no process alive. */
  lastActiveAt(): number {
    return Number.NEGATIVE_INFINITY;
  }

  /** Beside producer and worker it is not what the process is there for. */
  readiness(): readonly ReadyCheck[] {
    const { trouble } = this.listener;
    const message = trouble === null ? 'listens' : trouble.message;
    return [{ name: 'dashboard', ok: this.beside || trouble === null, message }];
  }
}
