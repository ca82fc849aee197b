import type { Context, Hono } from 'hono';
import type { Logger } from '../common/logger.js';
import type { Cookies } from './cookies.js';
import { loginPage } from './page.js';
import type { User, Users } from './users.js';

/** What every handler behind the login finds in its context. */
export type Env = {
  Variables: {
    /** null: nobody is asked who they are. */
    user: User | null;
  };
};

interface Parts {
  users: Users;
  cookies: Cookies;
  log: Logger;
}

/**
 * The way in and out. What is registered after this is for those who have logged in, or for
 * everybody who reaches the port where there are no users.
 */
export function addLogin(app: Hono<Env>, { users, cookies, log }: Parts): void {
  app.get('/login', (context) => {
    const isIn = users.isOpen || users.of(cookies.session(context)) !== null;
    return isIn ? context.redirect('/') : context.html(loginPage(null));
  });
  app.post('/login', async (context) => {
    const { name, password } = await context.req.parseBody();
    const login = await users.login(String(name ?? ''), String(password ?? ''));
    if (login === 'wrong') {
      log.warn({ from: from(context) }, 'a login was refused');
      return context.html(loginPage('Name or password is wrong.'), 401);
    }
    if ('retryAfterMs' in login) {
      const seconds = Math.ceil(login.retryAfterMs / 1000);
      context.header('Retry-After', String(seconds));
      return context.html(loginPage(`Too many wrong tries. Try again in ${seconds} s.`), 429);
    }
    // Whoever had this browser before is out.
    users.logout(cookies.session(context));
    cookies.openSession(context, login.session);
    return context.redirect('/', 303);
  });
  app.use(async (context, next) => {
    const user = users.of(cookies.session(context));
    if (user === null && !users.isOpen) {
      const { method, path } = context.req;
      const isPage = method === 'GET' && !path.startsWith('/queues/api/');
      return isPage ? context.redirect('/login') : context.text('Log in first.\n', 401);
    }
    context.set('user', user);
    return next();
  });
  app.post('/logout', (context) => {
    users.logout(cookies.session(context));
    cookies.endSession(context);
    return context.redirect('/login', 303);
  });
}

/** The address of whoever asks; behind a proxy that of the proxy. */
function from({ env }: Context): string | undefined {
  const incoming: unknown = env?.incoming;
  if (typeof incoming !== 'object' || incoming === null || !('socket' in incoming))
    return undefined;
  const { socket } = incoming as { socket?: { remoteAddress?: string } };
  return socket?.remoteAddress;
}
