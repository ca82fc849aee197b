import { createAdaptorServer } from '@hono/node-server';
import { FerryError, systemCode } from '../common/errors.js';
import type { Role, RoleContext } from '../common/role.js';
import type { FerryConfig, ListenAddress } from '../config/model.js';
import { requireDashboard } from '../config/requirements.js';
import type { QueueAccess } from '../queue/access.js';
import { makeApp } from './app.js';
import { Overview } from './overview.js';
import { Users } from './users.js';

/** What `node:http` gives and the adapter's wider type hides. */
type Server = import('node:http').Server;

/**
 * Starts the dashboard. It only looks, and says to routes what an operator clicks: with Redis away
 * it says so and goes on by itself.
 *
 * @throws FerryError DASHBOARD_LISTEN_FAILED (kind usage)
 */
export async function startDashboard(
  config: FerryConfig,
  access: QueueAccess,
  context: RoleContext,
): Promise<Role> {
  const { listen: address, users: configured } = requireDashboard(config);
  const log = context.logger.child({ role: 'dashboard' });
  const users = await Users.of(configured);
  const overview = new Overview(config, log);
  const app = makeApp({ config, access, users, overview, log });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  try {
    await listen(server, address);
  } catch (error) {
    await overview.stop();
    throw error;
  }
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
  log.info({ host: address.host, port, users: configured.length }, 'dashboard started');
  let stopped: Promise<void> | null = null;
  const end = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await Promise.all([closed, overview.stop()]);
    log.info('dashboard stopped');
  };
  return {
    stop() {
      stopped ??= end();
      return stopped;
    },
    // Somebody who looks is no work: it keeps no process alive.
    lastActiveAt: () => Number.NEGATIVE_INFINITY,
    failed: new Promise(() => undefined),
    readiness: () => [],
  };
}

function listen(server: Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const what = `the dashboard cannot listen on ${host}:${port} (${systemCode(error)})`;
      reject(
        new FerryError('DASHBOARD_LISTEN_FAILED', what, {
          kind: 'usage',
          hint: 'choose a free port in dashboard.listen, or one this user may open',
          cause: error,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
}
