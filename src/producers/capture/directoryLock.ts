/**
 * One producer per directory of journals, or per journal where a producer has few of them there:
 * several producers then share a directory. Who wants all of it and who wants one file of it
 * exclude each other: both take their own lock first and then look for the other's.
 *
 * Two locks, because each covers what the other cannot:
 * - An OFD lock on a file in the state directory. The kernel gives it back when its owner dies,
 *   whatever the owner died of. It keeps two producers of one state directory apart.
 * - A `proper-lockfile` whose place follows from the journal directory alone. It keeps producers
 *   with different state directories apart, also over a shared disk. It is a lease: a killed owner's
 *   lock looks taken until it is stale. So the owner notes in its OFD lock file which lease it made;
 *   who gets the OFD lock and finds that very lease knows that its owner is dead, and removes it.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import {
  access,
  type FileHandle,
  mkdir,
  open,
  readdir,
  realpath,
  rmdir,
  stat,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import { check as checkLease, lock as takeLease } from 'proper-lockfile';
import { asError, FerryError, systemCode } from '../../common/errors.js';
import { type HeldLock, tryTakeLock } from '../../common/fileLock.js';

/** Shorter: a stalled event loop loses the lease; longer: a foreign killed producer blocks longer. */
export const LEASE_STALE_MS = 10_000;
/** The lease is refreshed so often. A lease whose time moves has a living owner. */
const LEASE_UPDATE_MS = 2000;
const LEASE_TRY_MS = 250;

export interface DirectoryLockOptions {
  /** Directory of the journals; it must exist. */
  journalDir: string;
  /** Name of the one file that is wanted; default: the whole directory. */
  journal?: string;
  stateDir: string;
  /** The lease is lost (a stall, a hand that removed it): the producer must stop. */
  onCompromised: (error: FerryError) => void;
  /** Said once when a foreign lease has to be waited for. */
  onWait?: (message: string) => void;
  signal?: AbortSignal;
}

export interface DirectoryLock {
  /** Where the lease lies. */
  readonly leasePath: string;
  release(): Promise<void>;
}

interface OwnerNote {
  pid: number;
  leasePath: string;
  /** Identity of the lease directory: a lease made by somebody else differs in it. */
  inode: number;
  birthMs: number;
}

/**
 * Takes both locks. Throws PRODUCER_ALREADY_RUNNING (with the other's pid where it is known) when
 * a living producer has the directory, or the journal; waits up to `LEASE_STALE_MS` for a dead
 * foreign one's lease.
 */
export async function lockDirectory(options: DirectoryLockOptions): Promise<DirectoryLock> {
  const journalDir = await realpath(options.journalDir);
  const { journal } = options;
  const locksDir = join(options.stateDir, 'locks');
  await mkdir(locksDir, { recursive: true, mode: 0o700 });
  const key = keyOf(journalDir);
  const files: FileHandle[] = [];
  const lockNoteFile = async (name: string, shared: boolean): Promise<OwnerNote | undefined> => {
    const flags = constants.O_RDWR | constants.O_CREAT;
    const file = await open(join(locksDir, `${name}.lock`), flags, 0o600);
    files.push(file);
    const note = await readNote(file);
    if (tryLock(file.fd, { shared })) return note;
    // Those who hold it shared have a journal each, and no note here.
    const isShared = !shared && tryLock(file.fd, { shared: true });
    throw alreadyRunning(journalDir, journal, isShared ? undefined : note?.pid);
  };
  try {
    const places = await leasePlaces(journalDir, key);
    const wholeNote = await lockNoteFile(key, journal !== undefined);
    if (wholeNote !== undefined) await removeDeadLease(places.whole, wholeNote);
    let leasePath = places.whole;
    if (journal !== undefined) {
      leasePath = places.ofJournal(journal);
      const note = await lockNoteFile(`${key}-${keyOf(journal)}`, false);
      if (note !== undefined) await removeDeadLease(leasePath, note);
    }
    const release = await waitForLease(journalDir, leasePath, options);
    try {
      const others = journal === undefined ? await places.ofJournals() : [places.whole];
      for (const path of others) await waitUntilFree(journalDir, path, options);
      const own = files.at(-1);
      if (own !== undefined) await writeNote(own, leasePath);
    } catch (error) {
      await release().catch(() => undefined);
      throw error;
    }
    return {
      leasePath,
      async release() {
        await release().catch((error: unknown) => {
          // A compromised lease is somebody else's by now.
          if (systemCode(error) !== 'ERELEASED' && systemCode(error) !== 'ENOTACQUIRED')
            throw error;
        });
        for (const file of files) {
          unlock(file.fd);
          await file.close();
        }
      },
    };
  } catch (error) {
    for (const file of files) await file.close();
    throw error;
  }
}

function keyOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

interface LeasePlaces {
  whole: string;
  ofJournal: (name: string) => string;
  /** Those that are there. */
  ofJournals: () => Promise<string[]>;
}

const LEASE_SUFFIX = '.ferry.lock';

/**
 * For a command that writes to spools of `stateDir` itself: keeps every producer out of them.
 *
 * @returns null while a producer of this state directory runs
 */
export async function keepProducersOut(
  stateDir: string,
): Promise<{ release(): Promise<void> } | null> {
  const locksDir = join(stateDir, 'locks');
  const held: HeldLock[] = [];
  const release = async (): Promise<void> => {
    for (const lock of held) await lock.release();
  };
  for (const name of await readdir(locksDir).catch(() => [])) {
    const lock = await tryTakeLock(join(locksDir, name), 'exclusive');
    if (lock === null) {
      await release();
      return null;
    }
    held.push(lock);
  }
  return { release };
}

/** Beside the directory, never in it (that would wake the watcher); else among temporary files. */
async function leasePlaces(journalDir: string, key: string): Promise<LeasePlaces> {
  const parent = dirname(journalDir);
  const isOurs = await access(parent, constants.W_OK).then(
    () => parent !== journalDir,
    () => false,
  );
  const [dir, start, suffix] = isOurs
    ? [parent, `.${basename(journalDir)}`, LEASE_SUFFIX]
    : [tmpdir(), `journal-ferry-${key}`, '.lock'];
  const whole = join(dir, `${start}${suffix}`);
  // The hash keeps any name apart from a directory's that only looks like it.
  const prefix = `${start}.${key}-`;
  return {
    whole,
    ofJournal: (name) => join(dir, `${prefix}${keyOf(name)}${suffix}`),
    async ofJournals() {
      const names = await readdir(dir);
      return names
        .filter((name) => name.startsWith(prefix) && name.endsWith(suffix))
        .map((name) => join(dir, name));
    },
  };
}

async function waitForLease(
  journalDir: string,
  leasePath: string,
  options: DirectoryLockOptions,
): Promise<() => Promise<void>> {
  const { onCompromised, onWait, signal } = options;
  let seenMs: number | undefined;
  for (let tries = 0; ; tries += 1) {
    signal?.throwIfAborted();
    try {
      return await takeLease(subjectOf(journalDir, options), {
        lockfilePath: leasePath,
        realpath: false,
        stale: LEASE_STALE_MS,
        update: LEASE_UPDATE_MS,
        onCompromised: (error) => onCompromised(compromised(journalDir, error)),
      });
    } catch (error) {
      if (systemCode(error) !== 'ELOCKED') throw leaseFailed(leasePath, error);
    }
    if (tries === 0) onWait?.(waitMessage(leasePath));
    seenMs = await pauseBeforeLease(journalDir, leasePath, seenMs, options);
  }
}

/** The lease library keeps one lease per name in a process. */
function subjectOf(journalDir: string, { journal }: DirectoryLockOptions): string {
  return journal === undefined ? journalDir : join(journalDir, journal);
}

/** Waits until nobody has this lease, or proves that its owner lives. */
async function waitUntilFree(
  journalDir: string,
  leasePath: string,
  options: DirectoryLockOptions,
): Promise<void> {
  const lease = { lockfilePath: leasePath, realpath: false, stale: LEASE_STALE_MS };
  let seenMs: number | undefined;
  for (let tries = 0; await checkLease(journalDir, lease); tries += 1) {
    if (tries === 0) options.onWait?.(waitMessage(leasePath));
    seenMs = await pauseBeforeLease(journalDir, leasePath, seenMs, options);
  }
}

function waitMessage(leasePath: string): string {
  return `${leasePath} is there: waiting up to ${LEASE_STALE_MS / 1000} s to see whether its owner lives`;
}

/** Throws when the lease was touched since the last look: somebody refreshes it. */
async function pauseBeforeLease(
  journalDir: string,
  leasePath: string,
  seenMs: number | undefined,
  { journal, signal }: DirectoryLockOptions,
): Promise<number | undefined> {
  const touchedMs = await leaseTime(leasePath);
  if (touchedMs !== undefined && seenMs !== undefined && touchedMs !== seenMs) {
    throw alreadyRunning(journalDir, journal, undefined);
  }
  await sleep(LEASE_TRY_MS, undefined, signal === undefined ? {} : { signal });
  return touchedMs;
}

async function leaseTime(leasePath: string): Promise<number | undefined> {
  try {
    return (await stat(leasePath)).mtimeMs;
  } catch {
    return undefined;
  }
}

/** Removes the lease that `note` names; its owner is dead, for we hold its OFD lock. */
async function removeDeadLease(leasePath: string, note: OwnerNote): Promise<void> {
  try {
    const { ino, birthtimeMs } = await stat(leasePath);
    const same = note.leasePath === leasePath && note.inode === ino && note.birthMs === birthtimeMs;
    if (same) await rmdir(leasePath);
  } catch {
    // Gone already, or to be waited for.
  }
}

async function readNote(file: FileHandle): Promise<OwnerNote | undefined> {
  try {
    const buffer = Buffer.alloc(4096);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return JSON.parse(buffer.toString('utf8', 0, bytesRead)) as OwnerNote;
  } catch {
    return undefined;
  }
}

async function writeNote(file: FileHandle, leasePath: string): Promise<void> {
  const { ino, birthtimeMs } = await stat(leasePath);
  const note: OwnerNote = { pid: process.pid, leasePath, inode: ino, birthMs: birthtimeMs };
  const text = Buffer.from(`${JSON.stringify(note)}\n`);
  await file.truncate(0);
  await file.write(text, 0, text.length, 0);
}

function alreadyRunning(
  journalDir: string,
  journal: string | undefined,
  pid: number | undefined,
): FerryError {
  const who = pid === undefined ? 'another producer' : `another producer (pid ${pid})`;
  const what = journal === undefined ? `journals in ${journalDir}` : join(journalDir, journal);
  return new FerryError('PRODUCER_ALREADY_RUNNING', `${who} ships ${what}`, {
    kind: 'storage',
    hint: 'stop it first: two shippers on one journal would tear it apart',
    context: { journalDir, journal, pid },
  });
}

function compromised(journalDir: string, cause: Error): FerryError {
  return new FerryError(
    'PRODUCER_LOCK_LOST',
    `the lock on ${journalDir} is lost: ${cause.message}`,
    {
      kind: 'storage',
      hint: 'the process was stalled for too long, or somebody removed the lock: start it again',
      context: { journalDir },
      cause,
    },
  );
}

function leaseFailed(leasePath: string, cause: unknown): FerryError {
  return new FerryError(
    'PRODUCER_LOCK_FAILED',
    `cannot lock ${leasePath}: ${asError(cause).message}`,
    {
      kind: 'storage',
      hint: 'make its directory writable',
      context: { leasePath },
      cause,
    },
  );
}
