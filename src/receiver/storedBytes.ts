import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** What was removed by hand is noticed this late, at the earliest. */
const MEASURE_AGAIN_MS = 10_000;

/** A part of the room that a request holds until it is over. */
export interface Room {
  /** More than was announced; false: there is no room for it. */
  grow(bytes: number): boolean;
  /** @param stored true: what it holds lies on disk now */
  release(stored: boolean): void;
}

/**
 * How much lies in an app's folders, and what is on its way there. Measured at the start, added up
 * from then on, and measured again when a limit is reached: the operator may have removed batches,
 * and blobs replace each other.
 */
export class StoredBytes {
  readonly #limit: number;
  readonly #folders: readonly string[];
  #stored = 0;
  #reserved = 0;
  #measuredAt = 0;
  #measuring: Promise<void> | null = null;

  private constructor(limit: number, folders: readonly string[]) {
    this.#limit = limit;
    this.#folders = folders;
  }

  /** @param limit bytes */
  static async measure(limit: number, folders: readonly string[]): Promise<StoredBytes> {
    const stored = new StoredBytes(limit, folders);
    await stored.#measure();
    return stored;
  }

  /** @param bytes as announced @returns null when there is no room */
  async reserve(bytes: number): Promise<Room | null> {
    if (!this.#fits(bytes) && performance.now() - this.#measuredAt >= MEASURE_AGAIN_MS) {
      this.#measuring ??= this.#measure().finally(() => {
        this.#measuring = null;
      });
      await this.#measuring;
    }
    if (!this.#fits(bytes)) return null;
    let held = bytes;
    this.#reserved += bytes;
    return {
      grow: (more) => {
        if (!this.#fits(more)) return false;
        held += more;
        this.#reserved += more;
        return true;
      },
      release: (stored) => {
        this.#reserved -= held;
        if (stored) this.#stored += held;
        held = 0;
      },
    };
  }

  #fits(bytes: number): boolean {
    return this.#stored + this.#reserved + bytes <= this.#limit;
  }

  async #measure(): Promise<void> {
    const sizes = await Promise.all(this.#folders.map(sizeOf));
    this.#stored = sizes.reduce((sum, size) => sum + size, 0);
    this.#measuredAt = performance.now();
  }
}

/** Of all files below a folder; links are not followed, and what vanishes meanwhile is nothing. */
async function sizeOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += await sizeOf(path);
    else if (entry.isFile()) bytes += (await lstat(path).catch(() => null))?.size ?? 0;
  }
  return bytes;
}
