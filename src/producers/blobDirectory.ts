import { readlinkSync, type Stats, statSync, unlinkSync } from 'node:fs';
import { readdir, readlink, stat, symlink, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { openBlob } from '../common/blob.js';
import { Checksum } from '../common/digest.js';
import { systemCode } from '../common/errors.js';
import { nodeFileSystem } from '../common/fileSystem.js';
import { blobHaste } from '../common/haste.js';
import { readAhead } from '../common/readAhead.js';
import type { BlobSent } from '../queue/jobs.js';

/**
 * A blob directory: links, and the files that they lead to. Every blob takes a handful of tiny calls
 * from its link to the link's end, so these are made at once while the disk is quick (see `Haste`).
 */
export class BlobDirectory {
  /** Absolute. */
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Where a link is, by its name. */
  linkPath(link: string): string {
    return join(this.path, link);
  }

  /** Everything in it. @throws Error of the system's, ENOENT too */
  names(): Promise<string[]> {
    return readdir(this.path);
  }

  /** What a link says; null for a plain file, or nothing. */
  async textOf(link: string): Promise<string | null> {
    const path = this.linkPath(link);
    try {
      return await blobHaste.run(
        () => readlinkSync(path),
        () => readlink(path),
      );
    } catch {
      return null;
    }
  }

  /**
   * Whether there is something where a text leads, or a link.
   *
   * @param to relative to the directory  @throws Error of the system's, unless it is ENOENT
   */
  async leadsTo(to: string): Promise<boolean> {
    try {
      await this.#look(resolve(this.path, to));
      return true;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      return false;
    }
  }

  /** Removes a link. @throws Error of the system's */
  async remove(link: string): Promise<void> {
    const path = this.linkPath(link);
    await blobHaste.run(
      () => unlinkSync(path),
      () => unlink(path),
    );
  }

  /**
   * Makes a link again, unless its writer was quicker; no power cut can take it away then.
   *
   * @throws Error of the system's
   */
  async makeAgain(link: string, text: string): Promise<void> {
    await symlink(text, this.linkPath(link)).catch((error: unknown) => {
      if (systemCode(error) !== 'EEXIST') throw error;
    });
    await nodeFileSystem.syncDirectory(this.path);
  }

  /**
   * Whether the file is another one than some route was sent. One that is gone is not: there is
   * nothing to send.
   *
   * @param sent of each route; null: nobody knows, so it is sent once more
   */
  async hasChanged(text: string, sent: readonly (BlobSent | null)[]): Promise<boolean> {
    const file = resolve(this.path, text);
    const now = await this.#look(file).catch(() => null);
    if (now === null) return false;
    let sum: number | undefined;
    for (const was of sent) {
      if (was === null) return true;
      if (was.inode !== now.ino || was.bytes !== now.size || was.mtimeMs !== now.mtimeMs) {
        return true;
      }
      if (was.crc32 === null) continue;
      sum ??= await checksumOf(file, now.size);
      if (sum !== was.crc32) return true;
    }
    return false;
  }

  async #look(path: string): Promise<Stats> {
    return blobHaste.run(
      () => statSync(path),
      () => stat(path),
    );
  }
}

async function checksumOf(path: string, bytes: number): Promise<number> {
  const file = await openBlob(path);
  try {
    const sum = new Checksum();
    for await (const piece of readAhead(file, 0, bytes)) sum.add(piece);
    return sum.value;
  } finally {
    await file.close();
  }
}
