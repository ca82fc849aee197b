/** So many wrong passwords are free; each further one closes the name for twice as long. */
const FREE_TRIES = 3;
const FIRST_PAUSE_MS = 1_000;
/**
 * Too short lets somebody guess; too long lets somebody who knows a name keep its owner out. What
 * the dashboard does can be done by commands meanwhile.
 */
const LONGEST_PAUSE_MS = 60_000;
/** Without a further try a name is forgotten. */
const FORGOTTEN_AFTER_MS = 10 * LONGEST_PAUSE_MS;
/** Passwords are checked one at a time: to push a name out takes longer than its pause. */
const NAMES_MAX = 1_000;

/**
 * How often somebody guessed wrong, by name and not by address: who has many addresses gets no
 * further. Names that there are not are counted alike, so that the answer does not tell them.
 */
export class Guesses {
  /** In the order of the last try. */
  readonly #names = new Map<string, { wrong: number; openAt: number; at: number }>();

  constructor(private readonly now: () => number) {}

  /** How long no password is looked at; 0: not at all. */
  closedForMs(name: string): number {
    return Math.max(0, (this.#names.get(name)?.openAt ?? 0) - this.now());
  }

  /** A try, taken for wrong until `forget`. */
  count(name: string): void {
    const now = this.now();
    const before = this.#names.get(name);
    const wrong =
      before === undefined || now - before.at > FORGOTTEN_AFTER_MS ? 1 : before.wrong + 1;
    const beyond = wrong - FREE_TRIES;
    const pauseMs = beyond < 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** beyond, LONGEST_PAUSE_MS);
    this.#names.delete(name);
    const [oldest] = this.#names.keys();
    if (this.#names.size >= NAMES_MAX && oldest !== undefined) this.#names.delete(oldest);
    this.#names.set(name, { wrong, openAt: now + pauseMs, at: now });
  }

  /** It was right. */
  forget(name: string): void {
    this.#names.delete(name);
  }
}
