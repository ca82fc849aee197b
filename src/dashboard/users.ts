import { createHash, randomBytes } from 'node:crypto';
import { hashPassword, passwordFits, strangersHash } from '../common/password.js';
import { Semaphore } from '../common/semaphore.js';
import type { DashboardConfig } from '../config/model.js';
import { Guesses } from './guesses.js';
import { passwordHashOf } from './passwords.js';

/** Who looks at the dashboard. */
export interface User {
  name: string;
  /** May look, and not act. */
  readOnly: boolean;
}

/** A working day: whoever comes again tomorrow logs in again. */
const SESSION_MS = 12 * 3600 * 1000;
/** The oldest ends for the newest; each costs some hundred bytes. */
const SESSIONS_MAX = 1_000;
/** Each password costs 32 MiB and 80 ms to check: one at a time, and so many may wait. */
const CHECKS_WAITING_MAX = 8;
const BUSY_MS = 2_000;

export type Login = { session: string } | { retryAfterMs: number } | 'wrong';

/** The users of the configuration, their sessions, and how often somebody guessed wrong. */
export class Users {
  readonly #hashes: ReadonlyMap<string, { user: User; hash: string }>;
  /** Compared with when the name is unknown, so that the time tells nothing. */
  readonly #nobody: string;
  /** By the digest of the cookie: a dump of the memory is no key. In the order of their ends. */
  readonly #sessions = new Map<string, { user: User; endsAt: number }>();
  readonly #guesses: Guesses;
  readonly #checks = new Semaphore(1);
  #waiting = 0;
  readonly #now: () => number;

  private constructor(
    hashes: ReadonlyMap<string, { user: User; hash: string }>,
    nobody: string,
    now: () => number,
  ) {
    this.#hashes = hashes;
    this.#nobody = nobody;
    this.#now = now;
    this.#guesses = new Guesses(now);
  }

  /**
   * Reads their passwords, once.
   *
   * @throws FerryError DASHBOARD_PASSWORD (kind usage) when one cannot be read
   */
  static async of(
    users: DashboardConfig['users'],
    now: () => number = () => performance.now(),
  ): Promise<Users> {
    const hashes = new Map<string, { user: User; hash: string }>();
    for (const { name, readOnly, password } of users) {
      hashes.set(name, { user: { name, readOnly }, hash: await passwordHashOf(name, password) });
    }
    const [first] = hashes.values();
    return new Users(hashes, strangersHash(first?.hash ?? (await hashPassword(''))), now);
  }

  /** Nobody is asked who they are; only for listeners that this machine alone reaches. */
  get isOpen(): boolean {
    return this.#hashes.size === 0;
  }

  /** A name that there is not takes as long as a wrong password, and is held up like it. */
  async login(name: string, password: string): Promise<Login> {
    const tried = digest(name); // whoever tries long names must not fill the memory with them
    const retryAfterMs = this.#guesses.closedForMs(tried);
    if (retryAfterMs > 0) return { retryAfterMs };
    if (this.#waiting >= CHECKS_WAITING_MAX) return { retryAfterMs: BUSY_MS };
    // Counted before the slow look: many tries at once are no way around.
    this.#guesses.count(tried);
    const known = this.#hashes.get(name);
    this.#waiting += 1;
    const fits = await this.#checks
      .run(() => passwordFits(password, known?.hash ?? this.#nobody))
      .finally(() => {
        this.#waiting -= 1;
      });
    if (known === undefined || !fits) return 'wrong';
    this.#guesses.forget(tried);
    return { session: this.#open(known.user) };
  }

  of(session: string | undefined): User | null {
    if (session === undefined) return null;
    const found = this.#sessions.get(digest(session));
    return found !== undefined && this.#now() < found.endsAt ? found.user : null;
  }

  logout(session: string | undefined): void {
    if (session !== undefined) this.#sessions.delete(digest(session));
  }

  #open(user: User): string {
    const session = randomBytes(32).toString('base64url');
    const now = this.#now();
    for (const [key, { endsAt }] of this.#sessions) {
      if (now < endsAt && this.#sessions.size < SESSIONS_MAX) break;
      this.#sessions.delete(key);
    }
    this.#sessions.set(digest(session), { user, endsAt: now + SESSION_MS });
    return session;
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
