/**
 * How far long work is. Who does the work tells it; who waits for it may see it (`cli/progress.ts`
 * draws it on a terminal).
 */
export interface Progress {
  /** So much is done, of so much: cheap enough to be told of each piece. `total` may still grow. */
  at(done: number, total?: number): void;
  /** The work is over, however it ended. Idempotent. */
  end(): void;
}

/** What is counted: things, or bytes. */
export type ProgressUnit = 'items' | 'bytes';

/** Begins to show one piece of work; the label says what it is: `reading spools`. */
export type StartProgress = (label: string, unit?: ProgressUnit) => Progress;

/** Nobody looks. */
export const NO_PROGRESS: StartProgress = () => ({ at: () => undefined, end: () => undefined });
