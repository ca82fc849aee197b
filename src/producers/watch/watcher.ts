/**
 * Says which files of a directory are worth a look. Events are hints (they come late, twice, or
 * never: inotify's queue overflows); the sweep, a stat of every file each interval, is the truth.
 * Neither says what is in a file: whoever looks asks the file itself.
 *
 *   absent --directory seen by a sweep--> watching --directory gone or another one--> absent
 *
 * One inotify watch per directory, however many files: a watch per file lost 1,100 to 1,800 of
 * 10,000 in an overflow.
 */
import { lstatSync, type Stats, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FSWatcher } from 'chokidar';
import { asError, FerryError, systemCode } from '../../common/errors.js';

export interface DirectoryWatcherOptions {
  /** Absolute. May be missing. */
  dir: string;
  /** Between sweeps, in ms. */
  intervalMs: number;
  /** Only files with these names count. Default: all. */
  filter?: (fileName: string) => boolean;
  /**
   * Each sweep also says the unchanged files that are not empty: right for journals, whose bytes
   * may have been left where they were. Default false.
   */
  repeatNonEmpty?: boolean;
  /** The directory is missing or unreadable (said once until it is back), or the watch failed. */
  onTrouble?: (error: FerryError) => void;
  /** The directory is back. */
  onBack?: (dir: string) => void;
}

/** So many stats in one turn of the event loop (about a millisecond). */
const STATS_PER_TURN = 256;

/**
 * chokidar, for its raw events alone. On every event it would read the directory again and stat
 * each file in it: with 10,000 busy journals that kept the thread pool full for as long as there
 * were commits, and captures waited behind it with their journals locked. Our sweep does that job.
 */
class RawWatcher extends FSWatcher {
  override _readdirp(): undefined {
    return undefined;
  }
}

interface Seen {
  size: number;
  changedMs: number;
  inode: number;
}

export class DirectoryWatcher {
  readonly dir: string;
  readonly #options: DirectoryWatcherOptions;
  readonly #listeners = new Set<(fileName: string) => void>();
  readonly #seen = new Map<string, Seen>();
  #hinted = new Set<string>();
  #watcher: FSWatcher | undefined;
  #watchedInode: number | undefined;
  #sweeping: Promise<void> | undefined;
  #sweepAgain = false;
  #timer: NodeJS.Timeout | undefined;
  #troubled = false;
  #closed = false;

  constructor(options: DirectoryWatcherOptions) {
    this.dir = options.dir;
    this.#options = options;
  }

  /** Calls `listener` with the file's name (no path). Returns the function that ends that. */
  onLook(listener: (fileName: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What happens in the directory is heard of; false: it is missing, or the watch failed. */
  get isWatching(): boolean {
    return this.#watcher !== undefined && this.#watchedInode !== undefined;
  }

  /** Begins to watch. Resolves after the first sweep, in which every file counts as new. */
  async start(): Promise<void> {
    await this.sweepNow();
    if (this.#closed) return;
    this.#timer = setInterval(() => void this.sweepNow(), this.#options.intervalMs);
  }

  /** Looks at every file. Resolves when a sweep that began after the call is done; never rejects. */
  async sweepNow(): Promise<void> {
    if (this.#closed) return;
    if (this.#sweeping !== undefined) {
      // The one under way may have passed the file that the caller means.
      this.#sweepAgain = true;
      return this.#sweeping;
    }
    this.#sweeping = this.#sweeps().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#sweeping;
    await this.#detach();
    this.#listeners.clear();
  }

  async #sweeps(): Promise<void> {
    do {
      this.#sweepAgain = false;
      try {
        await this.#attach();
        await this.#sweep();
        if (this.#troubled) this.#options.onBack?.(this.dir);
        this.#troubled = false;
      } catch (error) {
        await this.#detach();
        this.#trouble(error);
      }
    } while (this.#sweepAgain && !this.#closed);
  }

  async #sweep(): Promise<void> {
    const names = await readdir(this.dir);
    const gone = new Set(this.#seen.keys());
    for (const [index, name] of names.entries()) {
      gone.delete(name);
      if (index % STATS_PER_TURN === STATS_PER_TURN - 1) await nextTurn();
      if (this.#closed) return;
      if (this.#options.filter?.(name) ?? true) this.#compare(name);
    }
    for (const name of gone) {
      this.#seen.delete(name);
      this.#look(name);
    }
  }

  #compare(name: string): void {
    const stats = this.#stat(name);
    if (stats === undefined || stats.isDirectory()) return;
    const before = this.#seen.get(name);
    const same =
      before !== undefined &&
      before.size === stats.size &&
      before.changedMs === stats.mtimeMs &&
      before.inode === stats.ino;
    if (!same) {
      this.#seen.set(name, { size: stats.size, changedMs: stats.mtimeMs, inode: stats.ino });
    }
    const full = this.#options.repeatNonEmpty === true && stats.size > 0;
    if (!same || full) this.#look(name);
  }

  #stat(name: string): Stats | undefined {
    const path = `${this.dir}/${name}`;
    try {
      const stats = lstatSync(path);
      // A journal may be a link to where it really is; a blob's link is looked at as a link.
      return this.#options.repeatNonEmpty === true && stats.isSymbolicLink()
        ? statSync(path)
        : stats;
    } catch {
      return undefined;
    }
  }

  #look(name: string): void {
    for (const listener of this.#listeners) listener(name);
  }

  /** Watches the directory that has the name now. Throws when there is none. */
  async #attach(): Promise<void> {
    const { ino } = statSync(this.dir);
    if (this.#watchedInode === ino && this.#watcher !== undefined) return;
    await this.#detach();
    if (this.#closed) return;
    const watcher = new RawWatcher({
      ignored: (path) => path !== this.dir,
      ignoreInitial: true,
      atomic: false,
      depth: 0,
    });
    watcher.on('raw', (_event, name) => this.#hint(name));
    watcher.on('error', (error) => this.#trouble(error));
    await new Promise<void>((resolve) => {
      watcher.once('ready', resolve);
      watcher.once('error', () => resolve());
      watcher.add(this.dir);
    });
    this.#watcher = watcher;
    this.#watchedInode = ino;
  }

  async #detach(): Promise<void> {
    const watcher = this.#watcher;
    this.#watcher = undefined;
    this.#watchedInode = undefined;
    await watcher?.close();
  }

  /** Many events about one file in one turn become one look. */
  #hint(name: unknown): void {
    if (this.#closed) return;
    // No name, or the directory's own: something happened to the directory itself.
    if (typeof name !== 'string' || name === '' || name === basename(this.dir)) {
      void this.sweepNow();
      if (typeof name !== 'string' || name === '') return;
    }
    if (this.#options.filter?.(name) === false) return;
    if (this.#hinted.size === 0) setImmediate(() => this.#flushHints());
    this.#hinted.add(name);
  }

  #flushHints(): void {
    const hinted = this.#hinted;
    this.#hinted = new Set();
    if (this.#closed) return;
    for (const name of hinted) this.#look(name);
  }

  #trouble(cause: unknown): void {
    if (this.#closed || this.#troubled) return;
    this.#troubled = true;
    const missing = systemCode(cause) === 'ENOENT';
    this.#options.onTrouble?.(
      new FerryError(
        missing ? 'DIRECTORY_MISSING' : 'DIRECTORY_NOT_WATCHED',
        missing ? `there is no ${this.dir}` : `${this.dir}: ${asError(cause).message}`,
        {
          kind: 'storage',
          hint: missing
            ? 'it is picked up as soon as it is there'
            : 'it is looked at every interval all the same',
          context: { dir: this.dir },
          cause,
        },
      ),
    );
  }
}
