/**
 * A disk with a memory: every call of the product goes to real files and into a log. Syncs are
 * only noted. `cut.ts` makes of the log what a power cut at any moment may leave.
 *
 * Time counts calls: each has a tick at which it begins and one at which it is over. What a cut at
 * tick t keeps for sure is what a sync that was over by t covers: all that was over when that sync
 * began.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { type FileSystem, nodeFileSystem } from '../../src/common/fileSystem.js';
import type { OpenFile } from '../../src/common/openFile.js';

/** A file or a directory. Directories keep their place for ever, so their path names them. */
export type Node = { file: number } | { dir: string };

export type Change =
  | { is: 'write'; file: number; offset: number; data: Buffer }
  | { is: 'truncate'; file: number; size: number }
  | { is: 'punch'; file: number; offset: number; length: number }
  | { is: 'sync'; file: number; at: string }
  | { is: 'link'; dir: string; name: string; node: Node }
  | { is: 'unlink'; dir: string; name: string }
  | { is: 'rename'; dir: string; name: string; toDir: string; toName: string; node: Node }
  | { is: 'syncDirectory'; dir: string; at: string }
  /** A sync has failed: the kernel may have dropped what it was to write, and call it clean. */
  | { is: 'spoil'; file: number }
  /** A sync that was left out. */
  | { is: 'forgotten'; at: string };

export type Logged = Change & { begin: number; end: number };

export class Killed extends Error {}

/** Syncs whose place in the product (see `siteOf`) says so are left out. */
export type Forgetful = (site: string) => boolean;

export class Disk {
  readonly root: string;
  readonly log: Logged[] = [];
  /** What was there, durably, before the first call: content by file, entries by directory. */
  readonly base = {
    files: new Map<number, Buffer>(),
    dirs: new Map<string, Map<string, Node>>(),
  };
  /** The names as they are now. */
  readonly #names = new Map<string, Node>();
  readonly #forgets: Forgetful;
  #tick = 0;
  #files = 0;

  /** @param root what is in it counts as durable */
  constructor(root: string, forgets: Forgetful = () => false) {
    this.root = root;
    this.#forgets = forgets;
    this.#take(root);
  }

  get now(): number {
    return this.#tick;
  }

  fileAt(path: string): number {
    const node = this.#names.get(path);
    if (node === undefined || !('file' in node)) throw new Error(`no file ${path}`);
    return node.file;
  }

  /** The syncs of the product that were asked for, whether or not they were forgotten. */
  get sites(): Set<string> {
    return new Set(this.log.flatMap((one) => ('at' in one ? [one.at] : [])));
  }

  /**
   * A process on this disk. It dies right before its so-manieth call that changes something, or
   * right before the first sync at a place of the product.
   */
  process(killAt: number | string = Number.POSITIVE_INFINITY): DiskProcess {
    return new DiskProcess(this, killAt);
  }

  /** The journal's writer appends, and syncs nothing. */
  async append(path: string, data: Buffer): Promise<void> {
    const size = existsSync(path) ? statSync(path).size : -1;
    if (size < 0) this.link(path, this.newFile());
    const file = this.fileAt(path);
    const over = this.begin({ is: 'write', file, offset: Math.max(0, size), data });
    await appendFile(path, data);
    over();
  }

  newFile(): Node {
    this.#files += 1;
    return { file: this.#files };
  }

  node(path: string): Node | undefined {
    return this.#names.get(path);
  }

  link(path: string, node: Node): void {
    this.#names.set(path, node);
    this.begin({ is: 'link', dir: dirname(path), name: basename(path), node })();
  }

  unlinked(path: string): void {
    this.#names.delete(path);
  }

  renamed(from: string, to: string): void {
    const node = this.#names.get(from);
    if (node !== undefined) this.#names.set(to, node);
    this.#names.delete(from);
  }

  /** Notes a change that begins now; to be called again when it is over. */
  begin(change: Change): () => void {
    this.#tick += 1;
    const forgotten = 'at' in change && this.#forgets(change.at);
    const made: Change = forgotten ? { is: 'forgotten', at: change.at } : change;
    const logged = { ...made, begin: this.#tick, end: Number.POSITIVE_INFINITY };
    this.log.push(logged);
    return () => {
      this.#tick += 1;
      logged.end = this.#tick;
    };
  }

  #take(dir: string): void {
    const entries = new Map<string, Node>();
    this.base.dirs.set(dir, entries);
    this.#names.set(dir, { dir });
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) {
        entries.set(entry.name, { dir: path });
        this.#take(path);
        continue;
      }
      const node = this.newFile();
      entries.set(entry.name, node);
      this.#names.set(path, node);
      this.base.files.set(this.fileAt(path), readFileSync(path));
    }
  }
}

/** What one process sees of the disk. When it is dead, no call of it does anything any more. */
export class DiskProcess implements FileSystem {
  readonly #disk: Disk;
  /** Calls so far that change something. */
  calls = 0;
  readonly #killAt: number | string;
  #dead = false;
  readonly #files = new WeakMap<OpenFile, number>();

  constructor(disk: Disk, killAt: number | string) {
    this.#disk = disk;
    this.#killAt = killAt;
  }

  get dead(): boolean {
    return this.#dead;
  }

  kill(): void {
    this.#dead = true;
  }

  /** Throws when the process is dead, or dies of this call. A write may still happen in half. */
  #alive(changes: boolean, site?: string): void {
    if (changes) {
      this.calls += 1;
      const { calls } = this;
      if (typeof this.#killAt === 'number' ? calls >= this.#killAt : site === this.#killAt) {
        this.#dead = true;
      }
    }
    if (this.#dead) throw new Killed('the process is dead');
  }

  async open(path: string, flags: string | number, mode?: number): Promise<OpenFile> {
    const before = this.#disk.node(path);
    const truncates = typeof flags === 'number' && (flags & 0o1000) !== 0 && before !== undefined;
    const creates = before === undefined && flags !== 'r' && flags !== 'r+' && flags !== 0;
    this.#alive(creates || truncates);
    const handle = await nodeFileSystem.open(path, flags, mode);
    if (before === undefined) this.#disk.link(path, this.#disk.newFile());
    const file = this.#disk.fileAt(path);
    if (truncates) this.#disk.begin({ is: 'truncate', file, size: 0 })();
    return this.#watch(handle, file);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#alive(true);
    const node = this.#disk.node(from);
    if (node === undefined) return nodeFileSystem.rename(from, to);
    const over = this.#disk.begin({
      is: 'rename',
      dir: dirname(from),
      name: basename(from),
      toDir: dirname(to),
      toName: basename(to),
      node,
    });
    await nodeFileSystem.rename(from, to);
    this.#disk.renamed(from, to);
    over();
  }

  async unlink(path: string): Promise<void> {
    this.#alive(true);
    if (this.#disk.node(path) === undefined) return nodeFileSystem.unlink(path);
    const over = this.#disk.begin({ is: 'unlink', dir: dirname(path), name: basename(path) });
    await nodeFileSystem.unlink(path);
    this.#disk.unlinked(path);
    over();
  }

  async mkdir(path: string, options: { recursive: true; mode: number }) {
    this.#alive(true);
    const first = await nodeFileSystem.mkdir(path, options);
    if (first === undefined) return first;
    for (const part of relative(dirname(first), path).split('/').keys()) {
      const parts = relative(dirname(first), path)
        .split('/')
        .slice(0, part + 1);
      const dir = join(dirname(first), ...parts);
      this.#disk.link(dir, { dir });
    }
    return first;
  }

  readdir(path: string): Promise<string[]> {
    this.#alive(false);
    return nodeFileSystem.readdir(path);
  }

  async syncDirectory(path: string): Promise<void> {
    const at = siteOf('syncDirectory');
    this.#alive(true, at);
    if (!existsSync(path)) return nodeFileSystem.syncDirectory(path);
    const over = this.#disk.begin({ is: 'syncDirectory', dir: path, at });
    await Promise.resolve();
    over();
  }

  /** A sync of this file has failed. */
  spoil(handle: OpenFile): void {
    this.#disk.begin({ is: 'spoil', file: this.#files.get(handle) ?? 0 })();
  }

  async punchHole(handle: OpenFile, offset: number, length: number): Promise<void> {
    this.#alive(true);
    const file = this.#files.get(handle) ?? 0;
    const over = this.#disk.begin({ is: 'punch', file, offset, length });
    await nodeFileSystem.punchHole(handle, offset, length);
    over();
  }

  #watch(handle: OpenFile, file: number): OpenFile {
    const watched: OpenFile = new Proxy(handle, {
      get: (target, property) => {
        switch (property) {
          case 'write':
            return (data: Buffer, from: number, length: number, at: number) =>
              this.#write(target, file, [data.subarray(from, from + length)], at);
          case 'writev':
            return (all: readonly Buffer[], at: number) => this.#write(target, file, all, at);
          case 'truncate':
            return async (size = 0) => {
              this.#alive(true);
              const over = this.#disk.begin({ is: 'truncate', file, size });
              await target.truncate(size);
              over();
            };
          case 'sync':
          case 'datasync':
            return async () => {
              const at = siteOf(property);
              this.#alive(true, at);
              const over = this.#disk.begin({ is: 'sync', file, at });
              await Promise.resolve();
              over();
            };
          case 'appendFile':
          case 'writeFile':
            throw new Error(`the recording disk does not know ${property}`);
        }
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    this.#files.set(watched, file);
    return watched;
  }

  async #write(target: OpenFile, file: number, all: readonly Buffer[], offset: number) {
    const whole = Buffer.concat(all);
    try {
      this.#alive(true);
    } catch (error) {
      // Whoever is killed in a write has written a part of it.
      if (this.calls !== this.#killAt) throw error;
      const half = whole.subarray(0, whole.length >> 1);
      const over = this.#disk.begin({ is: 'write', file, offset, data: half });
      await target.write(half, 0, half.length, offset);
      over();
      throw error;
    }
    const over = this.#disk.begin({ is: 'write', file, offset, data: whole });
    const { bytesWritten } = await target.write(whole, 0, whole.length, offset);
    over();
    return { bytesWritten, buffers: all };
  }
}

/** The calls of a process as plain functions, to put something in between. */
export function bound(process: DiskProcess): FileSystem {
  return {
    open: (path, flags, mode) => process.open(path, flags, mode),
    rename: (from, to) => process.rename(from, to),
    unlink: (path) => process.unlink(path),
    mkdir: (path, options) => process.mkdir(path, options),
    readdir: (path) => process.readdir(path),
    syncDirectory: (path) => process.syncDirectory(path),
    punchHole: (handle, offset, length) => process.punchHole(handle, offset, length),
  };
}

/**
 * Which sync of the product this is: file and function of the innermost frame of `src/` on the
 * stack, and the call. `partFile sync datasync`, for example.
 */
function siteOf(call: string): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 30;
  const stack = new Error().stack ?? '';
  Error.stackTraceLimit = limit;
  const ours = /\/src\/(producers|receiver|common)\//;
  const frame = stack.split('\n').find((line) => ours.test(line));
  const file = /([\w]+)\.js/.exec(frame ?? '')?.[1] ?? 'unknown';
  const name =
    /at (?:async )?(\S+) \(/
      .exec(frame ?? '')?.[1]
      ?.split('.')
      .at(-1) ?? '';
  return `${file} ${name === '' || name === '<anonymous>' ? 'anonymous' : name} ${call}`;
}

/** An error in the work says where the cut was, and what came before it. */
export async function saidWith<T>(
  disk: Disk,
  tick: number,
  how: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const why = error instanceof Error ? error.stack : String(error);
    throw new Error(
      `cut at tick ${tick} of ${disk.now}: ${how}\n${why}\n${recentCalls(disk, tick)}`,
    );
  }
}

function recentCalls(disk: Disk, tick: number): string {
  const recent = disk.log.filter(({ begin }) => begin <= tick).slice(-25);
  return recent
    .map((one) => {
      const { begin, end, is } = one;
      const open = end > tick ? ' (not over)' : '';
      const file = 'file' in one ? ` file ${one.file}` : '';
      const what =
        'data' in one
          ? ` ${one.offset}+${one.data.length} ${one.data.toString('latin1', 32, 90).replace(/[^ -~]+/g, '·')}`
          : 'size' in one
            ? ` ${one.size}`
            : 'name' in one
              ? ` ${one.name}`
              : 'at' in one
                ? ` ${one.at}`
                : '';
      return `${begin}: ${is}${file}${what}${open}`;
    })
    .join('\n');
}
