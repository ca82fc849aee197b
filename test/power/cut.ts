/**
 * What a power cut at a tick may leave of a recorded disk, as ext4 or xfs could show it.
 *
 * Names: a change of a directory's entries that no sync of that directory covers is there or not,
 * each for itself; a rename as a whole. A file whose name is not there is gone.
 *
 * Contents: the size changes of one file become durable in their order. What is written where a
 * shrinking had been, needs new blocks, and is not seen without it; what is written into a block
 * that stays (the page that the new end lies in) is. Else each page is, for itself, as it was
 * at some moment since the sync: pages are missing in the middle, and a file is longer than what
 * was written into it, zeros instead.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { Random } from '../../chaos/random.js';
import type { Disk, Logged, Node } from './disk.js';

export const PAGE_BYTES = 4096;

/** How the unsynced is chosen from. `random`: each thing for itself. */
export type Mood = 'nothing' | 'everything' | 'names' | 'contents' | 'sizes' | 'random';
export const MOODS: readonly Mood[] = [
  'nothing',
  'everything',
  'names',
  'contents',
  'sizes',
  'random',
];

export interface CutFile {
  content: Buffer;
  /** So many of the recorded size changes downwards took place, since the disk was new. */
  shrunk: number;
}

export class PowerCut {
  readonly #disk: Disk;
  readonly #tick: number;
  readonly #mood: Mood;
  readonly #random: Random;
  readonly #files = new Map<number, CutFile>();

  constructor(disk: Disk, tick: number, mood: Mood, random: Random) {
    this.#disk = disk;
    this.#tick = tick;
    this.#mood = mood;
    this.#random = random;
  }

  /** What is left of a file, whether or not a name leads to it. */
  file(file: number): CutFile {
    let found = this.#files.get(file);
    if (found === undefined) {
      found = this.#contentOf(file);
      this.#files.set(file, found);
    }
    return found;
  }

  /** Makes the directory `to`, which does not exist, what the root of the disk is now. */
  restore(to: string): void {
    const dirs = this.#names();
    const walk = (dir: string): void => {
      mkdirSync(join(to, relative(this.#disk.root, dir)), { recursive: true, mode: 0o700 });
      for (const [name, node] of dirs.get(dir) ?? []) {
        if ('dir' in node) walk(node.dir);
        else {
          const path = join(to, relative(this.#disk.root, join(dir, name)));
          writeFileSync(path, this.file(node.file).content, { mode: 0o600 });
        }
      }
    };
    walk(this.#disk.root);
  }

  /** A coin for something unsynced. */
  #kept(what: 'names' | 'contents'): boolean {
    switch (this.#mood) {
      case 'nothing':
        return false;
      case 'everything':
        return true;
      case 'sizes':
        return what === 'names';
      case 'random':
        return this.#random.chance(0.5);
      default:
        return this.#mood === what;
    }
  }

  #begun(): Logged[] {
    return this.#disk.log.filter(({ begin }) => begin <= this.#tick);
  }

  #names(): Map<string, Map<string, Node>> {
    const dirs = new Map<string, Map<string, Node>>();
    for (const [dir, entries] of this.#disk.base.dirs) dirs.set(dir, new Map(entries));
    const at = (dir: string): Map<string, Node> => {
      const entries = dirs.get(dir) ?? new Map<string, Node>();
      dirs.set(dir, entries);
      return entries;
    };
    const log = this.#begun();
    const synced = new Map<string, number>();
    for (const one of log) {
      if (one.is !== 'syncDirectory' || one.end > this.#tick) continue;
      synced.set(one.dir, Math.max(one.begin, synced.get(one.dir) ?? 0));
    }
    const durable = (dir: string, end: number) => end <= (synced.get(dir) ?? 0);
    for (const one of log) {
      if (one.is === 'link') {
        if (durable(one.dir, one.end) || this.#kept('names')) at(one.dir).set(one.name, one.node);
      } else if (one.is === 'unlink') {
        if (durable(one.dir, one.end) || this.#kept('names')) at(one.dir).delete(one.name);
      } else if (one.is === 'rename') {
        const sure = durable(one.dir, one.end) || durable(one.toDir, one.end);
        if (!sure && !this.#kept('names')) continue;
        at(one.dir).delete(one.name);
        at(one.toDir).set(one.toName, one.node);
      }
    }
    return dirs;
  }

  #contentOf(file: number): CutFile {
    const log = this.#begun().filter((one) => 'file' in one && one.file === file);
    let synced = 0;
    for (const one of log) {
      if (one.is === 'sync' && one.end <= this.#tick) synced = Math.max(synced, one.begin);
    }
    const start = new FileVersions(this.#disk.base.files.get(file) ?? Buffer.alloc(0));
    let shrunk = 0;
    const open: Logged[] = [];
    for (const one of log) {
      if (one.end > synced) open.push(one);
      else if (this.#isSpoiled(one, log)) start.grow(one);
      else if (start.apply(one)) shrunk += 1;
    }
    start.settle();
    const shrinks = open.filter(({ is }) => is === 'truncate').length;
    let left = this.#choose(shrinks);
    let ceiling = Number.POSITIVE_INFINITY;
    for (const one of open) {
      if (one.is === 'truncate') {
        if (left > 0) {
          left -= 1;
          if (start.apply(one)) shrunk += 1;
        } else {
          ceiling = Math.min(ceiling, Math.ceil(one.size / PAGE_BYTES));
        }
      } else {
        start.apply(one, ceiling);
      }
    }
    return {
      content: start.pick(
        (n) => this.#version(n),
        (n) => this.#size(n),
      ),
      shrunk,
    };
  }

  /** Written, and then the first sync that was to cover it failed: no later one writes it. */
  #isSpoiled(change: Logged, log: readonly Logged[]): boolean {
    if (change.is !== 'write') return false;
    const next = log.find(
      ({ is, begin }) => begin > change.end && (is === 'spoil' || is === 'sync'),
    );
    return next?.is === 'spoil';
  }

  /** How many of n things in a row. */
  #choose(n: number): number {
    if (this.#mood === 'random' || this.#mood === 'names') return this.#random.integer(0, n);
    return this.#kept('contents') || this.#mood === 'sizes' ? n : 0;
  }

  /** Which of n versions of a page, oldest first. */
  #version(n: number): number {
    if (this.#mood === 'random') return this.#random.integer(0, n - 1);
    return this.#kept('contents') ? n - 1 : 0;
  }

  #size(n: number): number {
    if (this.#mood === 'random') return this.#random.integer(0, n - 1);
    return this.#kept('contents') || this.#mood === 'sizes' ? n - 1 : 0;
  }
}

/** The pages of one file, each in the versions that may be on the disk. */
class FileVersions {
  #now: Buffer;
  #pages = new Map<number, Buffer[]>();
  #sizes: number[];

  constructor(content: Buffer) {
    this.#now = Buffer.from(content);
    this.#sizes = [content.length];
  }

  /** What was so far is durable. */
  settle(): void {
    this.#pages.clear();
    this.#sizes = [this.#now.length];
  }

  /**
   * @param ceiling pages from here on have no block of their own any more: not changed
   * @returns whether the file has become shorter, or would have
   */
  apply(change: Logged, ceiling = Number.POSITIVE_INFINITY): boolean {
    switch (change.is) {
      case 'write':
        this.#put(change.offset, change.data, ceiling);
        return false;
      case 'punch':
        this.#put(change.offset, Buffer.alloc(change.length), ceiling);
        return false;
      case 'truncate': {
        const { size } = change;
        const whole = Math.ceil(size / PAGE_BYTES);
        for (const [page, versions] of this.#pages) {
          if (page >= whole) this.#pages.delete(page);
          else if ((page + 1) * PAGE_BYTES > size) {
            for (const one of versions) one.fill(0, size - page * PAGE_BYTES);
          }
        }
        const kept = Buffer.alloc(size);
        this.#now.subarray(0, size).copy(kept);
        this.#now = kept;
        this.#sizes = [size];
        return true;
      }
      default:
        return false;
    }
  }

  /** The size of a write, and nothing of its bytes. */
  grow(change: Logged): void {
    if (change.is !== 'write') return;
    const size = change.offset + change.data.length;
    if (size > this.#now.length) {
      this.#now = Buffer.concat([this.#now, Buffer.alloc(size - this.#now.length)]);
    }
  }

  pick(version: (n: number) => number, sizeOf: (n: number) => number): Buffer {
    const sizes = [...new Set(this.#sizes)];
    const size = sizes[sizeOf(sizes.length)] ?? 0;
    const content = Buffer.alloc(size);
    this.#now.subarray(0, size).copy(content);
    for (const [page, versions] of this.#pages) {
      const at = page * PAGE_BYTES;
      if (at >= size) continue;
      versions[version(versions.length)]?.subarray(0, size - at).copy(content, at);
    }
    return content;
  }

  #put(offset: number, data: Buffer, ceiling: number): void {
    const end = Math.min(offset + data.length, ceiling * PAGE_BYTES);
    if (end <= offset) return;
    // Below a ceiling nothing grows: the file is as long as before the shrinking.
    const size = ceiling === Number.POSITIVE_INFINITY ? end : Math.min(end, this.#now.length);
    const later = Buffer.alloc(Math.max(size, this.#now.length));
    this.#now.copy(later);
    data.subarray(0, Math.min(end, later.length) - offset).copy(later, offset);
    for (let page = Math.floor(offset / PAGE_BYTES); page * PAGE_BYTES < end; page += 1) {
      const versions = this.#pages.get(page) ?? [pageOf(this.#now, page)];
      versions.push(pageOf(later, page));
      this.#pages.set(page, versions);
      const seen = Math.min(later.length, (page + 1) * PAGE_BYTES);
      if (seen > this.#now.length) this.#sizes.push(seen);
    }
    this.#now = later;
  }
}

function pageOf(content: Buffer, page: number): Buffer {
  const found = Buffer.alloc(PAGE_BYTES);
  content.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES).copy(found);
  return found;
}

/** The path of something on the disk in the copy that `restore` made. */
export function inCopy(disk: Disk, path: string, to: string): string {
  return join(to, relative(disk.root, join(dirname(path), basename(path))));
}
