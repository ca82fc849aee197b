/** A real file system with a fault at one chosen call: the Nth write, fdatasync, unlink... */
import type { FileHandle } from 'node:fs/promises';
import { type FileSystem, nodeFileSystem } from '../../src/common/fileSystem.js';

export type Operation =
  | 'open'
  | 'write'
  | 'datasync'
  | 'truncate'
  | 'unlink'
  | 'rename'
  | 'mkdir'
  | 'syncDirectory';

export interface Fault {
  operation: Operation;
  /** 1 = the next such call. Further calls work again, unless `lasting`. */
  at: number;
  code: 'ENOSPC' | 'EIO';
  /** A write puts down half of its bytes before it fails. */
  short?: boolean;
  lasting?: boolean;
}

export class FaultyFileSystem implements FileSystem {
  #fault: Fault | undefined;
  /** Calls so far, by operation. */
  readonly calls = new Map<Operation, number>();
  /** Handles that are open now. */
  openHandles = 0;
  /** The fault has happened. */
  hit = false;

  arm(fault: Fault | undefined): void {
    this.#fault = fault === undefined ? undefined : { ...fault };
    this.hit = false;
    this.calls.clear();
  }

  async open(path: string, flags: string | number, mode?: number): Promise<FileHandle> {
    this.#pass('open');
    const handle = await nodeFileSystem.open(path, flags, mode);
    this.openHandles += 1;
    return this.#wrap(handle);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#pass('rename');
    await nodeFileSystem.rename(from, to);
  }

  async unlink(path: string): Promise<void> {
    this.#pass('unlink');
    await nodeFileSystem.unlink(path);
  }

  async mkdir(path: string, options: { recursive: true; mode: number }) {
    this.#pass('mkdir');
    return nodeFileSystem.mkdir(path, options);
  }

  readdir(path: string): Promise<string[]> {
    return nodeFileSystem.readdir(path);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#pass('syncDirectory');
    await nodeFileSystem.syncDirectory(path);
  }

  async punchHole(handle: FileHandle, offset: number, length: number): Promise<void> {
    await nodeFileSystem.punchHole(handle, offset, length);
  }

  /** Counts the call; throws when its turn has come (or says that a write is to be short). */
  #pass(operation: Operation): 'short' | 'whole' {
    const count = (this.calls.get(operation) ?? 0) + 1;
    this.calls.set(operation, count);
    const fault = this.#fault;
    if (fault?.operation !== operation) return 'whole';
    if (fault.lasting ? count < fault.at : count !== fault.at) return 'whole';
    this.hit = true;
    if (fault.short) return 'short';
    throw Object.assign(new Error(`${fault.code}: injected at ${operation} ${count}`), {
      code: fault.code,
    });
  }

  #wrap(handle: FileHandle): FileHandle {
    const pass = (operation: Operation): 'short' | 'whole' => this.#pass(operation);
    const closed = (): void => {
      this.openHandles -= 1;
    };
    return new Proxy(handle, {
      get(target, property) {
        if (property === 'write') {
          return async (data: Buffer, from: number, length: number, position: number) => {
            if (pass('write') === 'whole') return target.write(data, from, length, position);
            await target.write(data, from, length >> 1, position);
            throw Object.assign(new Error('ENOSPC: injected behind a short write'), {
              code: 'ENOSPC',
            });
          };
        }
        if (property === 'datasync' || property === 'truncate') {
          return async (length?: number) => {
            pass(property);
            await (property === 'datasync' ? target.datasync() : target.truncate(length));
          };
        }
        if (property === 'close') {
          return async () => {
            await target.close();
            closed();
          };
        }
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }
}
