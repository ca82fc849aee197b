/** What is being sent when a stop comes may go on so long; then it is ended politely. */
const FINISH_MS = 4_000;
/** After this, a confirmed batch that Redis does not want to hear of is left to a repeat. */
const OVERDUE_MS = 8_000;

/**
 * The stop of a worker, as its activations see it: first finish, then abort, then give up.
 */
export class WorkerStop {
  readonly #abort = new AbortController();
  readonly #stopNow = new AbortController();
  #finish: NodeJS.Timeout | undefined;
  #overdueAt = Number.POSITIVE_INFINITY;
  #inside = 0;

  /** Aborts what is being sent. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get stopping(): boolean {
    return this.#stopNow.signal.aborted;
  }

  /** Something is being sent, or its confirmation told to Redis. */
  get isBusy(): boolean {
    return this.#inside > 0;
  }

  get overdue(): boolean {
    return performance.now() > this.#overdueAt;
  }

  /** Counts an activation; call the result when it ends. */
  enter(): () => void {
    this.#inside += 1;
    return () => {
      this.#inside -= 1;
      if (this.#inside === 0 && this.stopping) clearTimeout(this.#finish);
    };
  }

  begin(): void {
    if (this.stopping) return;
    this.#stopNow.abort();
    this.#overdueAt = performance.now() + OVERDUE_MS;
    if (this.#inside > 0) this.#finish = setTimeout(() => this.#abort.abort(), FINISH_MS);
  }

  end(): void {
    clearTimeout(this.#finish);
  }

  /** Sleeps `ms`. */
  async pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => setTimeout(resolve, ms));
  }
}
