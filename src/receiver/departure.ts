/** Why waiting ends; without a reason Node makes an error with a stack for every request. */
const OVER = 'over';

/**
 * That a client is gone, or has got its answer. An `AbortController` that is made only for those who
 * wait for it: few do, and making one for each request cost more than looking for its batch.
 */
export class Departure {
  #controller: AbortController | null = null;
  #isOver = false;

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#isOver) this.#controller.abort(OVER);
    }
    return this.#controller.signal;
  }

  /** It has left, or there is nothing to stay for. */
  leave(): void {
    this.#isOver = true;
    this.#controller?.abort(OVER);
  }
}
