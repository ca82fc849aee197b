/** What is being sent when a stop comes may go on so long; then it is ended politely. */
const FINISH_MS = 4_000;
/** After this, a confirmed batch that Redis does not want to hear of is left to a repeat. */
const OVERDUE_MS = 8_000;

/**
 * The stop of a worker, as its activations see it: first finish, then abort, then give up.
 */
export class WorkerStop {
  #stopping = false;
  #finish: NodeJS.Timeout | undefined;
  #isOver = false;
  #overdueAt = Number.POSITIVE_INFINITY;
  /** What ends each activation that is under way. */
  readonly #inside = new Set<() => void>();

  get stopping(): boolean {
    return this.#stopping;
  }

  /** Something is being sent, or its confirmation told to Redis. */
  get isBusy(): boolean {
    return this.#inside.size > 0;
  }

  get overdue(): boolean {
    return performance.now() > this.#overdueAt;
  }

  /**
   * Counts an activation; call the result when it ends.
   *
   * @param end of its own; called when its time to finish is over
   */
  enter(end: () => void): () => void {
    const ending = () => end(); // each its own, also when two come with the same
    this.#inside.add(ending);
    if (this.#isOver) end();
    return () => {
      this.#inside.delete(ending);
      if (this.#inside.size === 0 && this.#stopping) clearTimeout(this.#finish);
    };
  }

  begin(): void {
    if (this.stopping) return;
    this.#stopping = true;
    this.#overdueAt = performance.now() + OVERDUE_MS;
    if (this.#inside.size > 0) this.#finish = setTimeout(() => this.#endAll(), FINISH_MS);
  }

  end(): void {
    clearTimeout(this.#finish);
  }

  #endAll(): void {
    this.#isOver = true;
    for (const end of this.#inside) end();
  }

  /** Sleeps `ms`. */
  async pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => setTimeout(resolve, ms));
  }
}
