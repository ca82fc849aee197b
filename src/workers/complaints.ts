/**
 * Between two lines about the same trouble of the same route. A week's outage is some dozens of
 * lines then, however short the interval is. Longer: who reads the end of a log does not see it.
 */
export const SAY_AGAIN_MS = 3_600_000;

/** A route has a few kinds of trouble; beyond this, an old one counts as new. */
const CODES_PER_ROUTE = 16;

/**
 * What a worker has said about failing sends: each trouble once, then rarely, and once more when it
 * is over. Routes that work cost nothing.
 */
export class Complaints {
  readonly #now: () => number;
  /** Route -> code of the trouble -> when it was said last. */
  readonly #said = new Map<string, Map<string, number>>();

  /** @param now ms of a clock that only goes forward */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** True: say it. False: it was said not long ago. */
  isNews(route: string, code: string): boolean {
    const codes = this.#said.get(route) ?? new Map<string, number>();
    this.#said.set(route, codes);
    const now = this.#now();
    const last = codes.get(code);
    if (last !== undefined && now - last < SAY_AGAIN_MS) return false;
    codes.delete(code); // the latest is the last
    codes.set(code, now);
    const [oldest] = codes.keys();
    if (codes.size > CODES_PER_ROUTE && oldest !== undefined) codes.delete(oldest);
    return true;
  }

  /** The route works. True: there was trouble, so that is news. */
  isOver(route: string): boolean {
    return this.#said.delete(route);
  }
}
