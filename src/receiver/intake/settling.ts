import { asError } from '../../common/errors.js';
import type { OpenFile } from '../../common/openFile.js';
import { writeFully } from '../writing.js';
import type { Segment } from './segment.js';

/** Syncs of files at once. More: the intake's own sync waits behind them. */
const SYNCS_AT_ONCE = 4;

/**
 * The same where so much waits that the intake will soon wait for them anyway: a fifth more batches
 * get through. Less than the threads that the process has, some of which are for the intake.
 */
const SYNCS_IN_HURRY = 12;

/** Each is two syncs. */
const SHELVES_AT_ONCE = 4;

/** What is to be made durable for all batches of one app together: its index and its names. */
export interface Shelf {
  settle(): Promise<void>;
}

/** The file of a small batch: written, and not synced. */
export class PlacedFile {
  readonly #handle: OpenFile;
  readonly #data: Buffer;
  /** A sync has failed: the kernel may have dropped the bytes, and hold them for written. */
  #spoiled = false;

  constructor(handle: OpenFile, data: Buffer) {
    this.#handle = handle;
    this.#data = data;
  }

  async settle(): Promise<void> {
    if (this.#spoiled) await writeFully(this.#handle, [this.#data], 0);
    try {
      await this.#handle.datasync();
    } catch (error) {
      this.#spoiled = true;
      throw error;
    }
    // What it holds is durable: nothing that happens here matters any more.
    await this.close().catch(() => undefined);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/**
 * A segment, and what has still to become durable elsewhere before it may go.
 *
 *     appended --> being placed --done--> to be settled --> settled, removed
 *                       +--failed--> unplaced --done, tried again--> to be settled
 */
export class Held {
  readonly segment: Segment;
  readonly #files = new Set<PlacedFile>();
  readonly #shelves = new Set<Shelf>();
  readonly #placing = new Set<Promise<void>>();
  readonly #again = new Set<() => void>();
  #unplaced = 0;

  constructor(segment: Segment) {
    this.segment = segment;
  }

  /** Nothing was accepted into it. */
  get isEmpty(): boolean {
    return this.segment.end === 0;
  }

  /** Files that are open for it. */
  get files(): number {
    return this.#files.size;
  }

  /** A group of batches of one app is in the segment; it is now to be placed. */
  hold(): Hold {
    this.#unplaced += 1;
    let tried: () => void = () => undefined;
    const trying = new Promise<void>((resolve) => {
      tried = resolve;
    });
    this.#placing.add(trying);
    const over = (): void => {
      this.#placing.delete(trying);
      tried();
    };
    let known: (() => void) | null = null;
    return {
      failed: (again) => {
        known = again;
        this.#again.add(again);
        over();
      },
      done: (files, shelf) => {
        for (const file of files) this.#files.add(file);
        this.#shelves.add(shelf);
        this.#unplaced -= 1;
        if (known !== null) this.#again.delete(known);
        over();
      },
    };
  }

  /**
   * Makes durable elsewhere all that it holds. What has failed is tried again by the next call.
   * @param isOver no further sync is begun
   * @param isUrgent the intake is about to wait for it
   * @returns false: something is not even in its place, or it was over
   */
  async settle(isOver: () => boolean, isUrgent: boolean): Promise<boolean> {
    await Promise.all(this.#placing);
    if (this.#unplaced > 0) {
      for (const again of this.#again) again();
      return false;
    }
    const atOnce = isUrgent ? SYNCS_IN_HURRY : SYNCS_AT_ONCE;
    await this.#each(this.#files, isOver, atOnce);
    await this.#each(this.#shelves, isOver, SHELVES_AT_ONCE);
    return this.#files.size === 0 && this.#shelves.size === 0;
  }

  async close(): Promise<void> {
    await this.segment.close();
    for (const file of this.#files) await file.close();
  }

  async #each(all: Set<Shelf>, isOver: () => boolean, atOnce: number): Promise<void> {
    const left = [...all];
    let failure: Error | null = null;
    const some = async (): Promise<void> => {
      for (let one = left.pop(); one !== undefined && !isOver(); one = left.pop()) {
        try {
          await one.settle();
          all.delete(one);
        } catch (error) {
          failure ??= asError(error);
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, some));
    if (failure !== null) throw failure;
  }
}

/** Says what became of the placing of a group. Until then, and after a failure, its segment stays. */
export interface Hold {
  /** @param again asks for another attempt; it may also come by itself */
  failed(again: () => void): void;
  /** @param files written and not synced */
  done(files: readonly PlacedFile[], shelf: Shelf): void;
}
