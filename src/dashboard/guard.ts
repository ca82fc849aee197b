import type { MiddlewareHandler } from 'hono';
import { isLoopback } from '../config/checks.js';

/** Nothing but what this server sends is loaded, and nobody shows us in a frame. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/** bull-board has styles in its page, and a `base`. */
const BOARD_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'";

export const securityHeaders: MiddlewareHandler = async (context, next) => {
  await next();
  const { headers } = context.res;
  const isBoard = /^\/queues(\/|$)/.test(context.req.path);
  headers.set('Content-Security-Policy', isBoard ? BOARD_POLICY : PAGE_POLICY);
  headers.set('X-Content-Type-Options', 'nosniff');
  headers.set('X-Frame-Options', 'DENY');
  headers.set('Referrer-Policy', 'same-origin');
  headers.set('Cross-Origin-Opener-Policy', 'same-origin');
  headers.set('Cross-Origin-Resource-Policy', 'same-origin');
  if (!headers.has('Cache-Control')) headers.set('Cache-Control', 'no-store');
};

/**
 * Only our own pages may change something. Every browser says with such a request from which page
 * it comes; what does not say it is no browser with a session to be misused, and is refused too.
 */
export const sameOriginOnly: MiddlewareHandler = async (context, next) => {
  const { method } = context.req;
  if (method === 'GET' || method === 'HEAD' || isSameOrigin(context.req.raw)) return next();
  return context.text(
    'Refused: this request does not come from a page of this dashboard. A proxy in front of it must pass the Host header on.\n',
    403,
  );
};

function isSameOrigin({ headers }: Request): boolean {
  // Left out by browsers where the connection is neither TLS nor to this machine.
  const site = headers.get('sec-fetch-site');
  if (site !== null && site !== 'same-origin') return false;
  const origin = headers.get('origin');
  return origin !== null && URL.canParse(origin) && new URL(origin).host === headers.get('host');
}

/**
 * Without users this machine alone may ask. A page of another site whose name leads here
 * (DNS rebinding) still says its own name.
 */
export const loopbackNameOnly: MiddlewareHandler = async (context, next) => {
  const host = context.req.header('host') ?? '';
  const name = URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : '';
  if (isLoopback(name.replace(/^\[|\]$/g, ''))) return next();
  return context.text('Refused: without users the dashboard is for localhost only.\n', 403);
};
