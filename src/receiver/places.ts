import { constants } from 'node:fs';
import { join } from 'node:path';
import { FerryError, systemCode } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';
import type { OpenFile } from '../common/openFile.js';
import type { BatchRecord } from './batchRecord.js';
import { PlacedFile } from './intake/settling.js';
import { writeFully } from './writing.js';

/** Whoever looks into `batches/` sees whole files only. No record names it: removed at open. */
const FRESH = 'fresh.part';
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

/** An accepted batch. */
export interface AcceptedBatch {
  record: BatchRecord;
  /** Null: it lies in its part. */
  data: Buffer | null;
}

/** Puts accepted batches into `batches/`, one after the other, and syncs nothing. */
export class Places {
  readonly #fs: FileSystem;
  readonly #tmp: string;
  readonly #pathOf: (number: number) => string;
  /** So many of the group that is being placed are. */
  placed = 0;
  /** The small ones of these. */
  #files: PlacedFile[] = [];

  constructor(fs: FileSystem, tmp: string, pathOf: (number: number) => string) {
    this.#fs = fs;
    this.#tmp = tmp;
    this.#pathOf = pathOf;
  }

  /**
   * Puts a group into its places; after a failure it goes on where it was, with the same group.
   * @returns what is not durable there
   */
  async place(batches: readonly AcceptedBatch[]): Promise<readonly PlacedFile[]> {
    for (const { record, data } of batches.slice(this.placed)) {
      if (data === null) await this.#rename(record);
      else this.#files.push(await this.#write(record.number, data));
      this.placed += 1;
    }
    return this.#files;
  }

  /** The next group is another one. */
  done(): void {
    this.placed = 0;
    this.#files = [];
  }

  /** Of a group that did not get to its end. */
  async close(): Promise<void> {
    for (const file of this.#files) await file.close().catch(() => undefined);
  }

  async #write(number: number, data: Buffer): Promise<PlacedFile> {
    const fresh = join(this.#tmp, FRESH);
    const handle = await this.#create(fresh);
    try {
      await writeFully(handle, [data], 0);
      await this.#fs.rename(fresh, this.#pathOf(number), 'tiny');
      return new PlacedFile(handle, data);
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  async #create(path: string): Promise<OpenFile> {
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    try {
      return await this.#fs.open(path, flags, 0o600);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      // What an attempt that failed has left.
      await this.#fs.unlink(path);
      return this.#fs.open(path, flags, 0o600);
    }
  }

  async #rename({ part, number }: BatchRecord): Promise<void> {
    try {
      await this.#fs.rename(join(this.#tmp, part), this.#pathOf(number));
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      throw new FerryError('PART_LOST', `the accepted batch ${number} has vanished`, {
        kind: 'storage',
        hint: 'somebody removed it from the receiver’s tmp folder: restart, and replay it',
        cause: error,
      });
    }
  }
}
