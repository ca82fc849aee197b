import type { Difference, Proof, Unchecked } from './report.js';

/** With more than these a list helps nobody: something is wrong with the disk as a whole. */
const LISTED_MAX = 1_000;

export type Found = Partial<Difference> & Pick<Difference, 'code' | 'what' | 'do'>;

/** What is found on the way. */
export class Findings {
  readonly #differences: Difference[] = [];
  #omitted = 0;
  readonly #unchecked: Unchecked[] = [];

  differs(difference: Found): void {
    if (this.#differences.length === LISTED_MAX) this.#omitted += 1;
    else this.#differences.push({ routes: [], app: null, sequence: null, ...difference });
  }

  unchecked(about: string | null, what: string, todo: string): void {
    this.#unchecked.push({ about, what, do: todo });
  }

  proof(): Proof {
    return {
      version: 1,
      ok: this.#differences.length === 0,
      complete: this.#unchecked.length === 0,
      differences: this.#differences,
      omitted: this.#omitted,
      unchecked: this.#unchecked,
    };
  }
}

/** Told how many bytes were read. */
export type OnBytes = (bytes: number) => void;
