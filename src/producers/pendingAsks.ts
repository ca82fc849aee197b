import { FerryError } from '../common/errors.js';
import type { Ask, Done } from '../queue/asks.js';

interface PendingAsk {
  ask: Ask;
  resolve(done: Done): void;
  reject(error: unknown): void;
}

/** What operators ask of a journal's routes, until a turn of it carries that out. */
export class PendingAsks {
  #asks: PendingAsk[] = [];

  get isEmpty(): boolean {
    return this.#asks.length === 0;
  }

  /** Resolves when it is carried out; rejects with what was in the way. */
  add(ask: Ask): Promise<Done> {
    return new Promise((resolve, reject) => {
      this.#asks.push({ ask, resolve, reject });
    });
  }

  /** One after the other; each hears of its own outcome. Never throws. */
  async carryOut(one: (ask: Ask) => Promise<Done>): Promise<void> {
    for (const { ask, resolve, reject } of this.#take()) await one(ask).then(resolve, reject);
  }

  /**
   * Gives all back: one that came to nothing is not carried out behind the back of whoever asked.
   *
   * @param reason default: that the producer cannot look at the route now
   */
  refuse(reason?: unknown): void {
    for (const { ask, reject } of this.#take()) reject(reason ?? notNow(ask));
  }

  #take(): PendingAsk[] {
    return this.#asks.splice(0);
  }
}

/** For an ask that could not be looked at: nothing has happened. */
export function notNow({ what, route }: Ask): FerryError {
  const code = what === 'skip' ? 'SKIP_UNSURE' : 'REPLAY_UNSURE';
  return new FerryError(code, `the producer cannot look at ${route} now`, {
    kind: 'storage',
    hint: 'see its log: Redis may have gone away; then say it again',
  });
}
