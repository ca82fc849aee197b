import { Semaphore } from './semaphore.js';

export interface Pace {
  /** Of the time, above 0 and at most 1. */
  share: number;
  /** No pause is longer, in ms: work that takes long is work that has to be done. */
  pauseMaxMs: number;
}

/**
 * Work in the background that must not take the disk from what people wait for: one at a time, with
 * a pause behind each so that it takes a share of the time only.
 */
export class Paced {
  readonly #pace: Pace;
  readonly #turn = new Semaphore(1);
  readonly #now: () => number;
  #notBefore = Number.NEGATIVE_INFINITY;
  /** Somebody waits for so many of those that are queued: no pauses until they are done. */
  #urgent = 0;
  #endPause: () => void = () => undefined;

  /** @param now milliseconds on a clock that only goes forward */
  constructor(pace: Pace, now: () => number = () => performance.now()) {
    this.#pace = pace;
    this.#now = now;
  }

  /** @param urgent somebody waits for it: neither it nor those before it make a pause */
  async run(work: () => Promise<void>, urgent = false): Promise<void> {
    if (urgent) {
      this.#urgent += 1;
      this.#endPause();
    }
    try {
      await this.#turn.run(() => this.#oneOfThem(work));
    } finally {
      if (urgent) this.#urgent -= 1;
    }
  }

  async #oneOfThem(work: () => Promise<void>): Promise<void> {
    await this.#pause(this.#notBefore - this.#now());
    const begun = this.#now();
    try {
      await work();
    } finally {
      const ended = this.#now();
      const { share, pauseMaxMs } = this.#pace;
      this.#notBefore = ended + Math.min(pauseMaxMs, (ended - begun) * (1 / share - 1));
    }
  }

  async #pause(ms: number): Promise<void> {
    if (ms <= 0 || this.#urgent > 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
