import { readFileSync } from 'node:fs';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import { asError, describe, FerryError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import { resource } from '../common/resources.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import { act, isAction } from './actions.js';
import { Board } from './board.js';
import { Cookies } from './cookies.js';
import { loopbackNameOnly, sameOriginOnly, securityHeaders } from './guard.js';
import { addLogin, type Env } from './login.js';
import type { Overview } from './overview.js';
import { overviewPage } from './page.js';
import type { User, Users } from './users.js';

/** Forms of ours and bull-board's requests are small. */
const BODY_MAX_BYTES = 64 * 1024;

const FILES: Readonly<Record<string, string>> = {
  'dashboard.css': 'text/css; charset=utf-8',
  'dashboard.js': 'text/javascript; charset=utf-8',
};

interface Parts {
  config: FerryConfig;
  /** Of the listener: cookies are named after it. */
  port: number;
  access: QueueAccess;
  users: Users;
  overview: Overview;
  log: Logger;
}

/** Everything that the dashboard answers. */
export function makeApp({ config, port, access, users, overview, log }: Parts): Hono<Env> {
  const app = new Hono<Env>();
  const board = new Board(config, access, log);
  const cookies = new Cookies(port);
  app.use(securityHeaders);
  if (users.isOpen) app.use(loopbackNameOnly);
  app.use(sameOriginOnly);
  app.use(bodyLimit({ maxSize: BODY_MAX_BYTES }));
  for (const [name, type] of Object.entries(FILES)) {
    const text = readFileSync(resource(`dashboard/static/${name}`), 'utf8');
    app.get(`/static/${name}`, (context) =>
      context.body(text, 200, { 'Content-Type': type, 'Cache-Control': 'no-cache' }),
    );
  }
  addLogin(app, { users, cookies, log });

  app.get('/', async (context) => {
    const filter = context.req.query('q') ?? '';
    const said = cookies.takeSaid(context);
    const report = await overview.report({ fresh: said !== null });
    const { throughput } = overview;
    return context.html(
      overviewPage({ report, throughput, user: context.get('user'), filter, said }),
    );
  });
  app.post('/act/:kind', async (context) => {
    const user = context.get('user');
    const kind = context.req.param('kind');
    if (user?.readOnly === true) return context.text('This user may look only.\n', 403);
    if (!isAction(kind)) return context.notFound();
    const form = await context.req.parseBody();
    try {
      const text = await act({ config, access, log, by: whoIs(user) }, kind, form);
      cookies.say(context, { text, ok: true });
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      cookies.say(context, { text: `${error.code}: ${describe(error)}`, ok: false });
    }
    // Back to what was shown.
    const filter = typeof form['q'] === 'string' ? form['q'] : '';
    return context.redirect(filter === '' ? '/' : `/?q=${encodeURIComponent(filter)}`, 303);
  });
  for (const path of ['/queues', '/queues/*']) {
    app.all(path, (context) => {
      const user = context.get('user');
      return board.answer(context, { by: whoIs(user), readOnly: user?.readOnly === true });
    });
  }

  app.notFound((context) => context.text('There is no such page.\n', 404));
  app.onError((error, context) => {
    // A request that is too long, for one: hono knows its answer.
    if (error instanceof HTTPException) return error.getResponse();
    log.error({ err: asError(error) }, 'a page of the dashboard failed');
    return context.text('This failed; the log says why.\n', 500);
  });
  return app;
}

/** As it stands in the audit log. */
function whoIs(user: User | null): string {
  return user === null ? 'dashboard' : `${user.name} (dashboard)`;
}
