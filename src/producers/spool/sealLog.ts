/**
 * One log for the small seals of all spools of a process, so that many journals which are captured
 * at the same time share one fdatasync.
 *
 *     spools that seal at the same moment, two or more: each has written into its own log, unsynced;
 *         copies of the seals here, one fdatasync for all
 *     one alone: it syncs its own log, and nothing is written here
 *
 * What a spool has in its own log is read from there; the copies are for power cuts only, which may
 * take the unsynced end of any log: `Spool.open` finds what its log lacks (`missingSeals`). A full
 * file is freed once the logs of all spools with copies in it are synced.
 *
 *     fresh --SEALS_BYTES--> full --logs synced--> freed
 *     fresh --a write or sync fails--> full; the next seals begin a new file
 *
 * A file is locked by its process as long as it is open. Those of dead processes are freed by the
 * next one (`freeLeft`).
 */
import { randomBytes } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tryLock } from 'fs-native-extensions';
import { crashPoint } from '../../common/crashPoints.js';
import { systemCode } from '../../common/errors.js';
import { type FileSystem, nodeFileSystem } from '../../common/fileSystem.js';
import type { OpenFile } from '../../common/openFile.js';
import { inTime } from '../../common/within.js';
import { writeAll } from './handles.js';
import { loadSpool, segmentName } from './load.js';
import {
  encodeCopy,
  endOf,
  forgetLeftSeals,
  isMissing,
  readLeftSeals,
  type SealCopy,
  type SealRecord,
  sealsFiles,
  sealsName,
} from './sealCopies.js';

/** Larger: more to read after a power cut. Smaller: the logs of spools are synced more often. */
const SEALS_BYTES = 32 * 1024 * 1024;
/** Full files that wait for syncs. With more, the disk is behind, and spools sync for themselves. */
const FULL_MAX = 2;
/** Logs synced at once, in the background: the disk has captures to sync meanwhile. */
const SYNCS_AT_ONCE = 4;
/** So long a stop waits until the file is freed. What is left costs the next start a look. */
const CLOSE_MS = 2_000;

/** The log of a spool, as a seal log sees it. */
export interface SpoolLog {
  readonly dir: string;
  /** Makes all that is in it durable; rejects when that failed, or when it is closed. */
  sync(): Promise<void>;
  readonly isClosed: boolean;
}

interface Waiter {
  log: SpoolLog;
  seals: readonly SealRecord[];
  syncOwn: () => Promise<void>;
  resolve: (by: 'copies' | 'own') => void;
  reject: (error: unknown) => void;
}

interface SealsFileOpen {
  path: string;
  handle: OpenFile;
  /** Everything before it is durable. */
  end: number;
  /** The logs with copies in it, and in which of their segments these stand. */
  logs: Map<SpoolLog, Set<number>>;
}

export interface SealLogOptions {
  /** Of this boot of the machine; see `capture/bootId.ts`. */
  bootId: string;
  /** Default: the real one. */
  fileSystem?: FileSystem;
  /** Spools that seal at the same moment from which on they share a sync. Default 2. */
  shareFrom?: number;
  /** Default `SEALS_BYTES`. */
  fileBytes?: number;
}

export class SealLog {
  readonly #dir: string;
  readonly #fileSystem: FileSystem;
  readonly #shareFrom: number;
  readonly #fileBytes: number;
  readonly #bootId: string;
  readonly #run = randomBytes(8).toString('hex');
  #number = 0;
  #fresh: SealsFileOpen | null = null;
  #full: SealsFileOpen[] = [];
  #waiting: Waiter[] = [];
  #pumping: Promise<void> | undefined;
  #freeing: Promise<void> | undefined;
  #directoryDurable = false;
  #closed = false;

  /** @param dir of all seal logs of the state directory; made when there is something to share */
  constructor(dir: string, options: SealLogOptions) {
    this.#dir = dir;
    this.#bootId = options.bootId;
    this.#fileSystem = options.fileSystem ?? nodeFileSystem;
    this.#shareFrom = options.shareFrom ?? 2;
    this.#fileBytes = options.fileBytes ?? SEALS_BYTES;
  }

  /** Names of the files that this process writes to. */
  get ownFiles(): ReadonlySet<string> {
    const open = this.#fresh === null ? this.#full : [...this.#full, this.#fresh];
    return new Set(open.map(({ path }) => path.slice(this.#dir.length + 1)));
  }

  /**
   * Makes seals durable that their spool has written into its log, together with those of other
   * spools that wait at the same time. Rejects when nobody knows whether they are.
   *
   * @param syncOwn syncs the spool's own log instead
   * @returns `own`: everything in that log is durable; `copies`: the seals are
   */
  makeDurable(
    log: SpoolLog,
    seals: readonly SealRecord[],
    syncOwn: () => Promise<void>,
  ): Promise<'copies' | 'own'> {
    if (this.#closed) return syncOwn().then(() => 'own');
    return new Promise((resolve, reject) => {
      this.#waiting.push({ log, seals, syncOwn, resolve, reject });
      this.#pumping ??= this.#pump();
    });
  }

  /**
   * Frees what processes that are dead have left: once every spool has in its own log what was in
   * such a file. To be called when the spools of this process are open; what cannot be freed yet
   * stays for another time. Never throws.
   *
   * @returns names of files that stay because they cannot be read whole
   */
  async freeLeft(): Promise<string[]> {
    const damaged: string[] = [];
    const own = this.ownFiles;
    for (const name of await sealsFiles(this.#dir, this.#fileSystem).catch(() => [])) {
      if (own.has(name)) continue;
      try {
        if ((await this.#freeOneLeft(join(this.#dir, name))) === 'damaged') damaged.push(name);
      } catch {
        // Another process has just freed it, or a spool cannot be read now.
      }
    }
    return damaged;
  }

  /** Frees the file, if that is done soon. The spools may be closed before or after. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#pumping;
    this.#retireFresh();
    await inTime(CLOSE_MS, this.#freeFull(), () => undefined);
    // What is still at work there sees closed files, and leaves them to the next process.
    for (const { handle } of this.#full.splice(0)) await handle.close().catch(() => undefined);
  }

  async #pump(): Promise<void> {
    // Lets every seal of this turn of the event loop join the group.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      if (group.length < this.#shareFrom || this.#full.length > FULL_MAX) {
        await Promise.all(group.map(syncAlone));
      } else {
        await this.#share(group);
      }
    }
    this.#pumping = undefined;
  }

  async #share(group: readonly Waiter[]): Promise<void> {
    try {
      const file = await this.#open();
      const parts: Buffer[] = [];
      for (const { log, seals } of group) {
        for (const seal of seals) {
          parts.push(...encodeCopy(seal, file.end));
          noteSegment(file, log, seal.segment);
        }
      }
      const whole = Buffer.concat(parts);
      await writeAll(file.handle, whole, file.end);
      await file.handle.datasync();
      await this.#syncNames();
      file.end += whole.length;
      if (file.end >= this.#fileBytes) this.#retireFresh();
      for (const { resolve } of group) resolve('copies');
    } catch (error) {
      // After a failed sync the kernel may have dropped what was written: never on the same tail.
      this.#retireFresh();
      for (const { reject } of group) reject(error);
    }
    if (this.#full.length > 0) void this.#freeFull();
  }

  async #open(): Promise<SealsFileOpen> {
    if (this.#fresh !== null) return this.#fresh;
    await this.#fileSystem.mkdir(this.#dir, { recursive: true, mode: 0o700 });
    for (;;) {
      this.#number += 1;
      const path = join(this.#dir, sealsName(this.#bootId, this.#run, this.#number));
      const handle = await this.#fileSystem.open(path, 'wx', 0o600);
      // Whoever frees what others have left may have taken it before it was locked.
      if (take(handle) !== 'held' && existsSync(path)) {
        this.#directoryDurable = false;
        this.#fresh = { path, handle, end: 0, logs: new Map() };
        return this.#fresh;
      }
      await handle.close();
    }
  }

  /** Copies in a file that a power cut forgets are none. */
  async #syncNames(): Promise<void> {
    if (this.#directoryDurable) return;
    await this.#fileSystem.syncDirectory(this.#dir);
    await this.#fileSystem.syncDirectory(dirname(this.#dir));
    this.#directoryDurable = true;
  }

  #retireFresh(): void {
    if (this.#fresh === null) return;
    this.#full.push(this.#fresh);
    this.#fresh = null;
  }

  #freeFull(): Promise<void> {
    this.#freeing ??= this.#freeThem().finally(() => {
      this.#freeing = undefined;
    });
    return this.#freeing;
  }

  /** Tried again with the next file when a log cannot be synced: its own appends tell why. */
  async #freeThem(): Promise<void> {
    for (const file of [...this.#full]) {
      try {
        await this.#syncLogs(file);
        crashPoint('seals.synced');
        await this.#fileSystem.unlink(file.path);
        await file.handle.close();
        this.#full = this.#full.filter((one) => one !== file);
        crashPoint('seals.freed');
      } catch {}
    }
  }

  async #syncLogs({ logs }: SealsFileOpen): Promise<void> {
    const left = [...logs];
    const worker = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) {
        const [log, segments] = next;
        if (!log.isClosed) await log.sync();
        else for (const segment of segments) await this.#syncSegment(log.dir, segment);
        logs.delete(log);
      }
    };
    const ended = await Promise.allSettled(Array.from({ length: SYNCS_AT_ONCE }, worker));
    for (const one of ended) if (one.status === 'rejected') throw one.reason;
  }

  /** One that is gone was followed by another, which began with the whole state and a sync. */
  async #syncSegment(dir: string, segment: number): Promise<void> {
    let handle: OpenFile;
    try {
      handle = await this.#fileSystem.open(join(dir, segmentName(segment)), constants.O_RDWR);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return;
      throw error;
    }
    try {
      await handle.datasync();
    } finally {
      await handle.close();
    }
  }

  async #freeOneLeft(path: string): Promise<'freed' | 'damaged' | 'stays'> {
    const handle = await this.#fileSystem.open(path, constants.O_RDWR);
    try {
      if (take(handle) !== 'taken') return 'stays';
      const { copies, damaged } = await readLeftSeals(path, this.#fileSystem);
      if (damaged) return 'damaged';
      for (const [spool, of] of copies) {
        if (!(await this.#hasAll(join(dirname(this.#dir), 'spool', spool), of))) return 'stays';
      }
      await this.#fileSystem.unlink(path);
      forgetLeftSeals(path, this.#fileSystem);
      return 'freed';
    } finally {
      await handle.close();
    }
  }

  /** Whether a spool needs no copy any more. Then its log is durable, too. */
  async #hasAll(dir: string, copies: readonly SealCopy[]): Promise<boolean> {
    const loaded = await loadSpool(dir, { fileSystem: this.#fileSystem, tolerant: true });
    // Somebody has moved it away.
    if (loaded === undefined) return true;
    const spool = endOf(loaded);
    for (const copy of copies) {
      if (await isMissing(copy, spool, this.#fileSystem)) return false;
    }
    await this.#syncSegment(dir, loaded.segment);
    return true;
  }
}

/** Where the file system has no locks, nobody frees what others have left. */
function take({ fd }: OpenFile): 'taken' | 'held' | 'unlockable' {
  try {
    return tryLock(fd) ? 'taken' : 'held';
  } catch {
    return 'unlockable';
  }
}

function noteSegment({ logs }: SealsFileOpen, log: SpoolLog, segment: number): void {
  const segments = logs.get(log);
  if (segments === undefined) logs.set(log, new Set([segment]));
  else segments.add(segment);
}

async function syncAlone({ syncOwn, resolve, reject }: Waiter): Promise<void> {
  await syncOwn().then(() => resolve('own'), reject);
}
