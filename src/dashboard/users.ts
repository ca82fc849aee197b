import { createHash, randomBytes } from 'node:crypto';
import { hashPassword, passwordFits } from '../common/password.js';
import type { DashboardConfig } from '../config/model.js';

/** Who looks at the dashboard. */
export interface User {
  name: string;
  /** May look, and not act. */
  readOnly: boolean;
}

/** So many wrong passwords are free; each further one closes the name for twice as long. */
const FREE_TRIES = 3;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;

const SESSION_MS = 12 * 3600 * 1000;
const SESSIONS_MAX = 1_000;

export type Login = { session: string } | { retryAfterMs: number } | 'wrong';

/** The users of the configuration, their sessions, and how often somebody guessed wrong. */
export class Users {
  readonly #hashes: ReadonlyMap<string, { user: User; hash: string }>;
  /** Compared with when the name is unknown, so that the time tells nothing. */
  readonly #nobody: string;
  /** By the digest of the cookie: a dump of the memory is no key. */
  readonly #sessions = new Map<string, { user: User; endsAt: number }>();
  /** One entry per user, and one for all names that there are not. */
  readonly #guesses = new Map<string, { wrong: number; openAt: number }>();

  private constructor(hashes: ReadonlyMap<string, { user: User; hash: string }>, nobody: string) {
    this.#hashes = hashes;
    this.#nobody = nobody;
  }

  static async of(users: DashboardConfig['users']): Promise<Users> {
    const hashes = new Map<string, { user: User; hash: string }>();
    for (const { name, readOnly, password } of users) {
      const hash =
        'scrypt' in password
          ? password.scrypt
          : await hashPassword(process.env[password.env] ?? randomBytes(32).toString('hex'));
      hashes.set(name, { user: { name, readOnly }, hash });
    }
    return new Users(hashes, await hashPassword(randomBytes(32).toString('hex')));
  }

  /** Nobody is asked who they are; only for listeners that this machine alone reaches. */
  get isOpen(): boolean {
    return this.#hashes.size === 0;
  }

  async login(name: string, password: string): Promise<Login> {
    const known = this.#hashes.get(name);
    const key = known === undefined ? '' : name;
    const now = performance.now();
    const guesses = this.#guesses.get(key) ?? { wrong: 0, openAt: 0 };
    if (now < guesses.openAt) return { retryAfterMs: guesses.openAt - now };
    // Counted before the slow look: many tries at once are no way around.
    guesses.wrong += 1;
    const beyond = guesses.wrong - FREE_TRIES;
    guesses.openAt =
      beyond < 0 ? 0 : now + Math.min(FIRST_PAUSE_MS * 2 ** beyond, LONGEST_PAUSE_MS);
    this.#guesses.set(key, guesses);
    const fits = await passwordFits(password, known?.hash ?? this.#nobody);
    if (known === undefined || !fits) return 'wrong';
    this.#guesses.delete(key);
    return { session: this.#open(known.user) };
  }

  of(session: string | undefined): User | null {
    if (session === undefined) return null;
    const found = this.#sessions.get(digest(session));
    return found !== undefined && performance.now() < found.endsAt ? found.user : null;
  }

  logout(session: string | undefined): void {
    if (session !== undefined) this.#sessions.delete(digest(session));
  }

  #open(user: User): string {
    const session = randomBytes(32).toString('base64url');
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size >= SESSIONS_MAX && oldest !== undefined) this.#sessions.delete(oldest);
    this.#sessions.set(digest(session), { user, endsAt: performance.now() + SESSION_MS });
    return session;
  }
}

function digest(session: string): string {
  return createHash('sha256').update(session).digest('base64url');
}
