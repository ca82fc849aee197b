import { readFileSync } from 'node:fs';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { asError, describe, FerryError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import { act, isAction } from './actions.js';
import { Board } from './board.js';
import { loopbackNameOnly, sameOriginOnly, securityHeaders } from './guard.js';
import type { Overview } from './overview.js';
import { loginPage, overviewPage } from './page.js';
import type { User, Users } from './users.js';

const SESSION_COOKIE = 'ferry_session';
/** What came of a click, for the page that is shown next. */
const SAID_COOKIE = 'ferry_said';
const SAID_SECONDS = 60;
/** Forms of ours and bull-board's requests are small. */
const BODY_MAX_BYTES = 64 * 1024;

const FILES: Readonly<Record<string, string>> = {
  'dashboard.css': 'text/css; charset=utf-8',
  'dashboard.js': 'text/javascript; charset=utf-8',
};

interface Parts {
  config: FerryConfig;
  access: QueueAccess;
  users: Users;
  overview: Overview;
  log: Logger;
}

type Env = { Variables: { user: User | null } };

/** Everything that the dashboard answers. */
export function makeApp({ config, access, users, overview, log }: Parts): Hono<Env> {
  const app = new Hono<Env>();
  const board = new Board(access, log);
  app.use(securityHeaders);
  if (users.isOpen) app.use(loopbackNameOnly);
  app.use(sameOriginOnly);
  app.use(bodyLimit({ maxSize: BODY_MAX_BYTES }));

  for (const [name, type] of Object.entries(FILES)) {
    const text = readFileSync(new URL(`./static/${name}`, import.meta.url), 'utf8');
    app.get(`/static/${name}`, (context) =>
      context.body(text, 200, { 'Content-Type': type, 'Cache-Control': 'no-cache' }),
    );
  }
  app.get('/login', (context) =>
    users.isOpen ? context.redirect('/') : context.html(loginPage(null)),
  );
  app.post('/login', async (context) => {
    const { name, password } = await context.req.parseBody();
    const login = await users.login(String(name ?? ''), String(password ?? ''));
    if (login === 'wrong') {
      log.warn('a login was refused');
      return context.html(loginPage('Name or password is wrong.'), 401);
    }
    if ('retryAfterMs' in login) {
      const seconds = Math.ceil(login.retryAfterMs / 1000);
      context.header('Retry-After', String(seconds));
      return context.html(loginPage(`Too many wrong tries. Try again in ${seconds} s.`), 429);
    }
    setCookie(context, SESSION_COOKIE, login.session, cookieOptions(context));
    return context.redirect('/', 303);
  });

  app.use(async (context, next) => {
    const user = users.of(getCookie(context, SESSION_COOKIE));
    if (user === null && !users.isOpen) {
      const isPage = context.req.method === 'GET' && !/^\/(queues\/)?api\//.test(context.req.path);
      return isPage ? context.redirect('/login') : context.text('Log in first.\n', 401);
    }
    context.set('user', user);
    return next();
  });
  app.post('/logout', (context) => {
    users.logout(getCookie(context, SESSION_COOKIE));
    deleteCookie(context, SESSION_COOKIE, { path: '/' });
    return context.redirect('/login', 303);
  });
  app.get('/', async (context) => {
    const user = context.get('user');
    const filter = context.req.query('q') ?? '';
    const said = takeSaid(context);
    const report = await overview.report({ fresh: said !== null });
    const { throughput } = overview;
    return context.html(overviewPage({ report, throughput, user, filter, said }));
  });
  app.post('/act/:kind', async (context) => {
    const user = context.get('user');
    const kind = context.req.param('kind');
    if (user?.readOnly === true) return context.text('This user may look only.\n', 403);
    if (!isAction(kind)) return context.notFound();
    const by = user === null ? 'dashboard' : `${user.name} (dashboard)`;
    try {
      const text = await act({ config, log, by }, kind, await context.req.parseBody());
      say(context, { text, ok: true });
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      say(context, { text: `${error.code}: ${describe(error)}`, ok: false });
    }
    return context.redirect('/', 303);
  });
  app.all('/queues', (context) => board.answer(context, context.get('user')?.readOnly === true));
  app.all('/queues/*', (context) => board.answer(context, context.get('user')?.readOnly === true));

  app.notFound((context) => context.text('There is no such page.\n', 404));
  app.onError((error, context) => {
    log.error({ err: asError(error) }, 'a page of the dashboard failed');
    return context.text('This failed; the log says why.\n', 500);
  });
  return app;
}

function cookieOptions(context: Context) {
  // Behind a proxy with TLS the browser is to keep it for TLS.
  const secure = context.req.header('x-forwarded-proto') === 'https';
  return { httpOnly: true, sameSite: 'Strict', path: '/', secure } as const;
}

function say(context: Context, said: { text: string; ok: boolean }): void {
  const options = { ...cookieOptions(context), maxAge: SAID_SECONDS };
  setCookie(context, SAID_COOKIE, JSON.stringify(said), options);
}

function takeSaid(context: Context): { text: string; ok: boolean } | null {
  const cookie = getCookie(context, SAID_COOKIE);
  if (cookie === undefined) return null;
  deleteCookie(context, SAID_COOKIE, { path: '/' });
  try {
    const { text, ok } = JSON.parse(cookie);
    return { text: String(text), ok: ok === true };
  } catch {
    return null;
  }
}
