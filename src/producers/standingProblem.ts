import { asError, FerryError } from '../common/errors.js';

/** What turn after turn finds wrong: it is said once, and again when it went away and came back. */
export class StandingProblem {
  #now = '';
  #said = '';

  /** A turn begins: nothing is wrong yet. */
  begin(): void {
    this.#now = '';
  }

  /** A turn that has looked at everything has come to its end: what it did not find is over. */
  end(): void {
    if (this.#now === '') this.#said = '';
  }

  /**
   * @returns its code, when it is to be said; null: it was said already, or is said elsewhere, as
   *   that Redis is away
   */
  note(error: unknown): string | null {
    this.#now = error instanceof FerryError ? error.code : asError(error).message;
    if (this.#now === this.#said || this.#now === 'REDIS_AWAY') return null;
    this.#said = this.#now;
    return this.#now;
  }
}
