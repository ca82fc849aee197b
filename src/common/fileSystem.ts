import { constants, promises as fs, renameSync } from 'node:fs';
import { trim } from 'fs-native-extensions';
import { Haste } from './haste.js';
import { type OpenFile, openFile } from './openFile.js';

/**
 * The calls through which durable data passes, the journal's included, so that a test can put a
 * fault (ENOSPC, EIO, a short read, a power cut) at any one of them. Production uses
 * `nodeFileSystem`.
 */
export interface FileSystem {
  open(path: string, flags: string | number, mode?: number): Promise<OpenFile>;
  /** @param tiny what it replaces, if anything, is small: made at once while the disk is quick */
  rename(from: string, to: string, tiny?: 'tiny'): Promise<void>;
  unlink(path: string): Promise<void>;
  mkdir(path: string, options: { recursive: true; mode: number }): Promise<string | undefined>;
  readdir(path: string): Promise<string[]>;
  /** Makes the directory's entries durable: fsync on the directory itself. */
  syncDirectory(path: string): Promise<void>;
  /** Gives [offset, offset + length) back to the file system: it reads as zeros, the size stays. */
  punchHole(handle: OpenFile, offset: number, length: number): Promise<void>;
}

const haste = new Haste();

export const nodeFileSystem: FileSystem = {
  open: openFile,
  async rename(from, to, tiny) {
    const patiently = () => fs.rename(from, to);
    await (tiny === undefined ? patiently() : haste.run(() => renameSync(from, to), patiently));
  },
  unlink: (path) => fs.unlink(path),
  mkdir: (path, options) => fs.mkdir(path, options),
  readdir: (path) => fs.readdir(path),
  async syncDirectory(path) {
    const handle = await fs.open(path, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  punchHole: (handle, offset, length) => trim(handle.fd, offset, length),
};
