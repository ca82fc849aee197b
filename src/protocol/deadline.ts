/**
 * One timer for a stream of events. `touch` costs a clock reading, not a new timer: the timer looks
 * back when it fires and sleeps on for what is left.
 */
export class Deadline {
  readonly #onExpired: (limitMs: number) => void;
  #limitMs = 0;
  #last = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(onExpired: (limitMs: number) => void) {
    this.#onExpired = onExpired;
  }

  /** Starts afresh with this limit. */
  arm(limitMs: number): void {
    clearTimeout(this.#timer);
    this.#limitMs = limitMs;
    this.#last = performance.now();
    this.#timer = setTimeout(() => this.#look(), limitMs);
  }

  /** Something happened: the limit counts from now. */
  touch(): void {
    this.#last = performance.now();
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    const left = this.#last + this.#limitMs - performance.now();
    if (left > 0) {
      this.#timer = setTimeout(() => this.#look(), Math.ceil(left));
      return;
    }
    this.#timer = undefined;
    this.#onExpired(this.#limitMs);
  }
}
