import {
  close,
  closeSync,
  constants,
  fdatasync,
  fstat,
  fstatSync,
  fsync,
  ftruncate,
  ftruncateSync,
  open,
  openSync,
  read,
  readSync,
  type Stats,
  write,
  writeSync,
  writev,
} from 'node:fs';
import { promisify } from 'node:util';
import { Haste } from './haste.js';

/** An open file as the product uses it: `FileHandle` of Node has all of this, and more. */
export interface OpenFile {
  readonly fd: number;
  read(
    into: Buffer,
    from: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number; buffer: Buffer }>;
  write(
    data: Buffer,
    from: number,
    length: number,
    position: number,
  ): Promise<{ bytesWritten: number }>;
  writev(all: readonly Buffer[], position: number): Promise<{ bytesWritten: number }>;
  /**
   * @param size default 0
   * @param was its size, where the caller has just seen it; default: it is looked at
   */
  truncate(size?: number, was?: number): Promise<void>;
  sync(): Promise<void>;
  datasync(): Promise<void>;
  stat(): Promise<Stats>;
  close(): Promise<void>;
}

/** Up to so many bytes are read or written at once: a copy that takes less than the way around it. */
const TINY_BYTES = 64 * 1024;

/** Up to this size a file is cut, and one that is gone is freed, within some 100 us. */
const SMALL_FILE_BYTES = 1024 * 1024;

/** Of spool, journals and state directory. */
const haste = new Haste();

/**
 * To read a file that others put there: if it is a pipe by now, its opening does not wait until
 * somebody writes to it.
 */
export const READ_OTHERS = constants.O_RDONLY | constants.O_NONBLOCK;

const opened = promisify(open);
const closed = promisify(close);
const synced = promisify(fsync);
const dataSynced = promisify(fdatasync);
const looked = promisify(fstat);
const cut = promisify(ftruncate);

/**
 * Opens a file whose tiny calls are made at once while its disk is quick (see `Haste`), and through
 * the thread pool otherwise. Syncs and large calls always go there. One call after the other: it
 * has no queue of its own.
 *
 * @param flags as `fs.open` has them
 * @param disk default: that of the spool and of everything else of ours
 */
export async function openFile(
  path: string,
  flags: string | number,
  mode?: number,
  disk = haste,
): Promise<OpenFile> {
  const patiently = () => opened(path, flags, mode);
  // What it held is freed, which takes time with its size.
  const empties =
    typeof flags === 'string' ? flags.startsWith('w') : (flags & constants.O_TRUNC) !== 0;
  const fd = empties
    ? await patiently()
    : await disk.run(() => openSync(path, flags, mode), patiently);
  return new QuickFile(fd, disk);
}

class QuickFile implements OpenFile {
  #fd: number;
  readonly #haste: Haste;
  /** Its size, or how far behind its beginning was read or written, says so. */
  #isLarge = false;

  constructor(fd: number, disk: Haste) {
    this.#fd = fd;
    this.#haste = disk;
  }

  /** -1 when it is closed: a number that is used again must not be written to. */
  get fd(): number {
    return this.#fd;
  }

  async read(into: Buffer, from: number, length: number, position: number) {
    const { fd } = this;
    const patiently = () =>
      new Promise<number>((resolve, reject) => {
        read(fd, into, from, length, position, (error, bytes) =>
          error === null ? resolve(bytes) : reject(error),
        );
      });
    const bytesRead = this.#isTiny(position, length)
      ? await this.#haste.run(() => readSync(fd, into, from, length, position), patiently)
      : await patiently();
    return { bytesRead, buffer: into };
  }

  async write(data: Buffer, from: number, length: number, position: number) {
    const { fd } = this;
    const patiently = () =>
      new Promise<number>((resolve, reject) => {
        write(fd, data, from, length, position, (error, bytes) =>
          error === null ? resolve(bytes) : reject(error),
        );
      });
    const bytesWritten = this.#isTiny(position, length)
      ? await this.#haste.run(() => writeSync(fd, data, from, length, position), patiently)
      : await patiently();
    return { bytesWritten };
  }

  async writev(all: readonly Buffer[], position: number) {
    const [only] = all;
    if (all.length === 1 && only !== undefined) return this.write(only, 0, only.length, position);
    const { fd } = this;
    this.#isLarge = true;
    const bytesWritten = await new Promise<number>((resolve, reject) => {
      writev(fd, all, position, (error, bytes) =>
        error === null ? resolve(bytes) : reject(error),
      );
    });
    return { bytesWritten };
  }

  async truncate(size = 0, was?: number): Promise<void> {
    const { fd } = this;
    const isLarge = () => (was ?? fstatSync(fd).size) > SMALL_FILE_BYTES;
    await this.#haste.run(
      () => (isLarge() ? cut(fd, size) : ftruncateSync(fd, size)),
      () => cut(fd, size),
    );
  }

  sync(): Promise<void> {
    return synced(this.fd);
  }

  datasync(): Promise<void> {
    return dataSynced(this.fd);
  }

  async stat(): Promise<Stats> {
    const { fd } = this;
    const stats = await this.#haste.run(
      () => fstatSync(fd),
      () => looked(fd),
    );
    if (stats.size > SMALL_FILE_BYTES) this.#isLarge = true;
    return stats;
  }

  async close(): Promise<void> {
    const { fd } = this;
    if (fd < 0) return;
    this.#fd = -1;
    // Whoever closes the last name of a large file waits until its blocks are free.
    if (this.#isLarge) await closed(fd);
    else
      await this.#haste.run(
        () => closeSync(fd),
        () => closed(fd),
      );
  }

  #isTiny(position: number, length: number): boolean {
    if (position + length > SMALL_FILE_BYTES) this.#isLarge = true;
    return length <= TINY_BYTES;
  }
}
