/**
 * The lock that excludes the writer: an OFD lock on the whole journal, which a PicoLisp's fcntl
 * lock respects and is respected by.
 *
 * trying --got it--> held --release--> free
 * trying --1 s without luck--> in line --first in line--> waiting in the kernel --granted--> held
 * any of them --aborted--> gone; a grant that comes after that is given back at once.
 *
 * Trying alone starves beside a busy writer, which leaves no gap; waiting alone costs a thread
 * per journal. So one real wait at a time in the process.
 *
 * While we hold a lock every commit of that database stands still. Holds are therefore bounded
 * (`HOLDS_AT_ONCE`): a lock that is held while its work queues behind hundreds of others is held for
 * nothing. Some tens are worth it: their seals share one sync.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock, waitForLock } from 'fs-native-extensions';
import { asError, FerryError, systemCode } from '../../common/errors.js';
import { Semaphore } from '../../common/semaphore.js';

/** Longest pause between two tries: longer misses gaps, shorter burns CPU. */
const TRY_PAUSE_MAX_MS = 32;
/** After so long without luck the real wait begins. */
const TRYING_MAX_MS = 1000;
const HOLDS_AT_ONCE = 32;

const realWaits = new Semaphore(1);
const holds = new Semaphore(HOLDS_AT_ONCE);

export interface HeldLock {
  /** `performance.now()` at the grant. */
  readonly sinceMs: number;
  /** Unlocks; returns for how long it was held, in ms. Calling it again changes nothing. */
  release(): number;
}

/**
 * Locks the open journal `fd` (opened for writing). Resolves when nobody else can append.
 *
 * Throws JOURNAL_NOT_LOCKABLE (file system without locks), or the signal's reason.
 */
export async function lockJournal(
  fd: number,
  path: string,
  signal?: AbortSignal,
): Promise<HeldLock> {
  const startedMs = performance.now();
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, TRY_PAUSE_MAX_MS)) {
    signal?.throwIfAborted();
    const giveBack = await holds.acquire();
    try {
      if (tryLock(fd)) return held(fd, giveBack);
    } catch (error) {
      giveBack();
      throw notLockable(path, error);
    }
    giveBack();
    if (performance.now() - startedMs > TRYING_MAX_MS) break;
    await sleep(pauseMs, undefined, signal === undefined ? {} : { signal });
  }
  return waitInLine(fd, path, signal);
}

/**
 * The real wait, on a descriptor of its own: nothing can call it back, so after an abort it goes
 * on alone, and a grant that nobody waits for any more is given back at once.
 */
async function waitInLine(fd: number, path: string, signal?: AbortSignal): Promise<HeldLock> {
  const aborted = new AbortController();
  const giveUp = new Promise<never>((_, reject) => {
    const abort = (): void => reject(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { signal: aborted.signal });
  });
  giveUp.catch(() => undefined);
  let wanted = true;
  const granted = waitAlone(fd, path, () => wanted);
  try {
    const lock = await Promise.race([granted, giveUp]);
    if (lock === undefined) throw notLockable(path, new Error('the wait was given up'));
    return lock;
  } finally {
    wanted = false;
    aborted.abort();
    granted.catch(() => undefined);
  }
}

async function waitAlone(
  fd: number,
  path: string,
  wanted: () => boolean,
): Promise<HeldLock | undefined> {
  const leaveLine = await realWaits.acquire();
  try {
    if (!wanted()) return undefined;
    const { ino, dev } = fstatSync(fd);
    const own = openSync(path, constants.O_RDWR);
    try {
      const stats = fstatSync(own);
      if (stats.ino !== ino || stats.dev !== dev) throw journalReplaced(path);
      await waitForLock(own);
    } catch (error) {
      closeSync(own);
      throw error instanceof FerryError ? error : notLockable(path, error);
    }
    const lock = held(own, () => closeSync(own));
    if (wanted()) return lock;
    lock.release();
    return undefined;
  } finally {
    leaveLine();
  }
}

function held(fd: number, giveBack: () => void): HeldLock {
  const sinceMs = performance.now();
  let heldMs: number | undefined;
  return {
    sinceMs,
    release() {
      if (heldMs !== undefined) return heldMs;
      heldMs = performance.now() - sinceMs;
      try {
        unlock(fd);
      } finally {
        giveBack();
      }
      return heldMs;
    },
  };
}

function notLockable(path: string, cause: unknown): FerryError {
  return new FerryError(
    'JOURNAL_NOT_LOCKABLE',
    `cannot lock ${path}: ${systemCode(cause) ?? asError(cause).message}`,
    {
      kind: 'storage',
      hint: 'the journal must lie on a file system with fcntl locks (local disk, or NFS with lockd)',
      context: { path },
      cause,
    },
  );
}

export function journalReplaced(path: string): FerryError {
  return new FerryError('JOURNAL_REPLACED', `${path} was replaced while it was being locked`, {
    kind: 'storage',
    hint: 'it is tried again; a journal is to be truncated in place, never renamed or replaced',
    context: { path },
  });
}
