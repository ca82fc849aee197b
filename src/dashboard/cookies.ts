import type { Context } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';

/** What came of a click. */
export interface Said {
  text: string;
  ok: boolean;
}

const SAID_SECONDS = 60;
/** Browsers drop a cookie above 4096 bytes, and percent-encoding makes letters longer. */
const SAID_LENGTH_MAX = 1_000;

/**
 * The two cookies. They carry the port in their names: browsers do not keep cookies of two ports
 * of one host apart, and two dashboards would log each other's users out.
 */
export class Cookies {
  readonly #session: string;
  readonly #said: string;

  constructor(port: number) {
    this.#session = `ferry_session_${port}`;
    this.#said = `ferry_said_${port}`;
  }

  session(context: Context): string | undefined {
    return getCookie(context, this.#session);
  }

  openSession(context: Context, session: string): void {
    setCookie(context, this.#session, session, optionsFor(context));
  }

  endSession(context: Context): void {
    deleteCookie(context, this.#session, { path: '/' });
  }

  /** For the page that is shown next. */
  say(context: Context, { text, ok }: Said): void {
    const short = text.length > SAID_LENGTH_MAX ? `${text.slice(0, SAID_LENGTH_MAX)}…` : text;
    const options = { ...optionsFor(context), maxAge: SAID_SECONDS };
    setCookie(context, this.#said, JSON.stringify({ text: short, ok }), options);
  }

  /** What was said, once. */
  takeSaid(context: Context): Said | null {
    const cookie = getCookie(context, this.#said);
    if (cookie === undefined) return null;
    deleteCookie(context, this.#said, { path: '/' });
    try {
      const { text, ok } = JSON.parse(cookie);
      return { text: String(text), ok: ok === true };
    } catch {
      return null;
    }
  }
}

function optionsFor(context: Context) {
  // Behind a proxy with TLS the browser is to keep it for TLS.
  const secure = context.req.header('x-forwarded-proto') === 'https';
  return { httpOnly: true, sameSite: 'Strict', path: '/', secure } as const;
}
