/**
 * One producer per directory of journals.
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
import { lock as takeLease } from 'proper-lockfile';
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
 * a living producer has the directory; waits up to `LEASE_STALE_MS` for a dead foreign one's lease.
 */
export async function lockDirectory(options: DirectoryLockOptions): Promise<DirectoryLock> {
  const journalDir = await realpath(options.journalDir);
  const key = createHash('sha256').update(journalDir).digest('hex').slice(0, 16);
  const locksDir = join(options.stateDir, 'locks');
  await mkdir(locksDir, { recursive: true, mode: 0o700 });
  const noteFile = await open(
    join(locksDir, `${key}.lock`),
    constants.O_RDWR | constants.O_CREAT,
    0o600,
  );
  try {
    const note = await readNote(noteFile);
    if (!tryLock(noteFile.fd)) throw alreadyRunning(journalDir, note?.pid);
    const leasePath = await leasePathOf(journalDir, key);
    if (note !== undefined) await removeDeadLease(leasePath, note);
    const release = await waitForLease(journalDir, leasePath, options);
    await writeNote(noteFile, leasePath);
    return {
      leasePath,
      async release() {
        await release().catch((error: unknown) => {
          // A compromised lease is somebody else's by now.
          if (systemCode(error) !== 'ERELEASED' && systemCode(error) !== 'ENOTACQUIRED')
            throw error;
        });
        unlock(noteFile.fd);
        await noteFile.close();
      },
    };
  } catch (error) {
    await noteFile.close();
    throw error;
  }
}

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
async function leasePathOf(journalDir: string, key: string): Promise<string> {
  const parent = dirname(journalDir);
  try {
    await access(parent, constants.W_OK);
    if (parent !== journalDir) return join(parent, `.${basename(journalDir)}.ferry.lock`);
  } catch {
    // Not ours to write in.
  }
  return join(tmpdir(), `journal-ferry-${key}.lock`);
}

async function waitForLease(
  journalDir: string,
  leasePath: string,
  { onCompromised, onWait, signal }: DirectoryLockOptions,
): Promise<() => Promise<void>> {
  let seenMs: number | undefined;
  for (let tries = 0; ; tries += 1) {
    signal?.throwIfAborted();
    try {
      return await takeLease(journalDir, {
        lockfilePath: leasePath,
        realpath: false,
        stale: LEASE_STALE_MS,
        update: LEASE_UPDATE_MS,
        onCompromised: (error) => onCompromised(compromised(journalDir, error)),
      });
    } catch (error) {
      if (systemCode(error) !== 'ELOCKED') throw leaseFailed(leasePath, error);
    }
    const touchedMs = await leaseTime(leasePath);
    if (tries === 0) {
      onWait?.(
        `${leasePath} is there: waiting up to ${LEASE_STALE_MS / 1000} s to see whether its owner lives`,
      );
    } else if (touchedMs !== undefined && seenMs !== undefined && touchedMs !== seenMs) {
      throw alreadyRunning(journalDir, undefined);
    }
    seenMs = touchedMs;
    await sleep(LEASE_TRY_MS, undefined, signal === undefined ? {} : { signal });
  }
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

function alreadyRunning(journalDir: string, pid: number | undefined): FerryError {
  const who = pid === undefined ? 'another producer' : `another producer (pid ${pid})`;
  return new FerryError('PRODUCER_ALREADY_RUNNING', `${who} ships the journals in ${journalDir}`, {
    kind: 'storage',
    hint: 'stop it first: two shippers on one journal would tear it apart',
    context: { journalDir, pid },
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
