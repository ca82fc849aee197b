/** A file system with a fault at one chosen call: the Nth write, sync, unlink... */

import { type FileSystem, nodeFileSystem } from '../../src/common/fileSystem.js';
import type { OpenFile } from '../../src/common/openFile.js';

export const OPERATIONS = [
  'open',
  'read',
  /** `write` and `writev`. */
  'write',
  /** `sync` and `datasync`. */
  'datasync',
  'truncate',
  'unlink',
  'rename',
  'mkdir',
  'readdir',
  'syncDirectory',
  'punchHole',
] as const;

export type Operation = (typeof OPERATIONS)[number];

export interface Fault {
  operation: Operation;
  /** 1 = the next such call. Further calls work again, unless `lasting`. */
  at: number;
  code: 'ENOSPC' | 'EIO';
  /** A write puts down half of its bytes before it fails. */
  short?: boolean;
  /** No error: a read or a write moves half of its bytes and says so. */
  partial?: boolean;
  lasting?: boolean;
}

type Pass = 'whole' | 'short' | 'partial';

export interface FaultyOptions {
  /** What the calls go to. Default: the real one. */
  inner?: FileSystem;
  /** A sync has failed: what it was to cover may be lost, and no later sync brings it back. */
  onFailedSync?: (handle: OpenFile) => void;
}

export class FaultyFileSystem implements FileSystem {
  readonly #inner: FileSystem;
  readonly #onFailedSync: (handle: OpenFile) => void;
  readonly #handles = new WeakMap<OpenFile, OpenFile>();
  #fault: Fault | undefined;
  /** Calls so far, by operation. */
  readonly calls = new Map<Operation, number>();
  /** Handles that are open now. */
  openHandles = 0;
  /** The fault has happened. */
  hit = false;

  constructor({ inner, onFailedSync }: FaultyOptions = {}) {
    this.#inner = inner ?? nodeFileSystem;
    this.#onFailedSync = onFailedSync ?? (() => undefined);
  }

  arm(fault: Fault | undefined): void {
    this.#fault = fault === undefined ? undefined : { ...fault };
    this.hit = false;
    this.calls.clear();
  }

  async open(path: string, flags: string | number, mode?: number): Promise<OpenFile> {
    this.#pass('open');
    const handle = await this.#inner.open(path, flags, mode);
    this.openHandles += 1;
    return this.#wrap(handle);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#pass('rename');
    await this.#inner.rename(from, to);
  }

  async unlink(path: string): Promise<void> {
    this.#pass('unlink');
    await this.#inner.unlink(path);
  }

  async mkdir(path: string, options: { recursive: true; mode: number }) {
    this.#pass('mkdir');
    return this.#inner.mkdir(path, options);
  }

  async readdir(path: string): Promise<string[]> {
    this.#pass('readdir');
    return this.#inner.readdir(path);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#pass('syncDirectory');
    await this.#inner.syncDirectory(path);
  }

  async punchHole(handle: OpenFile, offset: number, length: number): Promise<void> {
    this.#pass('punchHole');
    await this.#inner.punchHole(this.#handles.get(handle) ?? handle, offset, length);
  }

  /** Counts the call; throws when its turn has come, or says how little it may do. */
  #pass(operation: Operation): Pass {
    const count = (this.calls.get(operation) ?? 0) + 1;
    this.calls.set(operation, count);
    const fault = this.#fault;
    if (fault?.operation !== operation) return 'whole';
    if (fault.lasting ? count < fault.at : count !== fault.at) return 'whole';
    this.hit = true;
    if (fault.short) return 'short';
    if (fault.partial) return 'partial';
    throw Object.assign(new Error(`${fault.code}: injected at ${operation} ${count}`), {
      code: fault.code,
    });
  }

  async #write(target: OpenFile, data: Buffer, position: number) {
    const pass = this.#pass('write');
    const length = pass === 'whole' ? data.length : Math.max(1, data.length >> 1);
    const { bytesWritten } = await target.write(data, 0, length, position);
    if (pass === 'short') {
      throw Object.assign(new Error('ENOSPC: injected behind a short write'), { code: 'ENOSPC' });
    }
    return { bytesWritten, buffer: data, buffers: [data] };
  }

  #wrap(handle: OpenFile): OpenFile {
    const wrapped: OpenFile = new Proxy(handle, {
      get: (target, property) => {
        switch (property) {
          case 'read':
            return async (into: Buffer, from: number, length: number, position: number) => {
              const whole = this.#pass('read') === 'whole';
              return target.read(into, from, whole ? length : Math.ceil(length / 2), position);
            };
          case 'write':
            return (data: Buffer, from: number, length: number, position: number) =>
              this.#write(target, data.subarray(from, from + length), position);
          case 'writev':
            return (all: readonly Buffer[], position: number) =>
              this.#write(target, Buffer.concat(all), position);
          case 'truncate':
            return async (length?: number, was?: number) => {
              this.#pass('truncate');
              await target.truncate(length, was);
            };
          case 'sync':
          case 'datasync':
            return async () => {
              try {
                this.#pass('datasync');
              } catch (error) {
                this.#onFailedSync(target);
                throw error;
              }
              await target[property]();
            };
          case 'close':
            return async () => {
              await target.close();
              this.openHandles -= 1;
            };
        }
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    this.#handles.set(wrapped, handle);
    return wrapped;
  }
}

/** A fault at every call that a clean run made, in every form: once and from there on. */
export function* everyFault(calls: ReadonlyMap<Operation, number>): Generator<Fault> {
  for (const [operation, count] of calls) {
    for (let at = 1; at <= count; at += 1) {
      for (const lasting of [false, true]) {
        for (const code of ['ENOSPC', 'EIO'] as const) yield { operation, at, code, lasting };
        if (operation === 'write') yield { operation, at, code: 'ENOSPC', short: true, lasting };
        if (operation === 'write' || operation === 'read') {
          yield { operation, at, code: 'EIO', partial: true, lasting };
        }
      }
    }
  }
}

/** Where all of them take long: each call fails once with EIO, and for good with ENOSPC. */
export function isOneOfEach({ code, partial, short, lasting }: Fault): boolean {
  if (short || partial) return lasting !== true;
  return code === (lasting ? 'ENOSPC' : 'EIO');
}

export function nameOf({ operation, at, code, short, partial, lasting }: Fault): string {
  const what = partial ? 'half of it' : short ? 'half of it, then ENOSPC' : code;
  return `${operation} ${at}, ${what}${lasting ? ', from there on' : ''}`;
}
