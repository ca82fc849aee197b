import { setTimeout as sleep } from 'node:timers/promises';
import { type FileSystem, nodeFileSystem } from '../../src/common/fileSystem.js';
import type { OpenFile } from '../../src/common/openFile.js';

export type FaultyCall = 'writev' | 'sync' | 'datasync' | 'truncate' | 'rename' | 'syncDirectory';

/** A real file system whose named calls fail as if the disk were full, while `failing` says so. */
export class FullDisk implements FileSystem {
  readonly failing = new Set<FaultyCall>();
  /** Milliseconds that each `writev` takes at least. */
  writeMs = 0;
  /** By `writev`. */
  writtenBytes = 0;
  readonly open = async (path: string, flags: string | number, mode?: number) =>
    this.#wrap(await nodeFileSystem.open(path, flags, mode));
  readonly unlink = nodeFileSystem.unlink;
  readonly mkdir = nodeFileSystem.mkdir;
  readonly readdir = nodeFileSystem.readdir;
  readonly punchHole = nodeFileSystem.punchHole;

  async rename(from: string, to: string): Promise<void> {
    this.#check('rename');
    await nodeFileSystem.rename(from, to);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#check('syncDirectory');
    await nodeFileSystem.syncDirectory(path);
  }

  #check(call: FaultyCall): void {
    if (!this.failing.has(call)) return;
    throw Object.assign(new Error(`ENOSPC: no space left on device, ${call}`), { code: 'ENOSPC' });
  }

  #wrap(handle: OpenFile): OpenFile {
    return new Proxy(handle, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        if (!['writev', 'sync', 'datasync', 'truncate'].includes(String(property))) {
          return value.bind(target);
        }
        return async (...args: unknown[]) => {
          this.#check(property as FaultyCall);
          if (property !== 'writev') return value.apply(target, args);
          await sleep(this.writeMs);
          const written = await value.apply(target, args);
          this.writtenBytes += written.bytesWritten;
          return written;
        };
      },
    });
  }
}
