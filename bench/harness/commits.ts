import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';

/** A writer that keeps its journal open, as a database does. */
export class Committer {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(journal: string): Promise<Committer> {
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;
    return new Committer(await open(journal, flags, 0o600));
  }

  /** Appends under the lock. Returns when that was given back, on `process.hrtime`'s clock. */
  async commit(record: Uint8Array): Promise<bigint> {
    while (!tryLock(this.#file.fd)) await nextTurn();
    try {
      await this.#file.write(record);
    } finally {
      unlock(this.#file.fd);
    }
    return process.hrtime.bigint();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
