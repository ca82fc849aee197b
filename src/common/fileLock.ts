import { constants } from 'node:fs';
import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import { systemCode } from './errors.js';

/**
 * Locks that tell processes of one state directory about each other. The kernel drops them when
 * their holder ends, however it ends, which is what a pid file cannot do.
 *
 * A lock belongs to the open file: the handle must stay referenced as long as the lock is meant
 * to be held, because a collected FileHandle is closed.
 */
export interface HeldLock {
  release(): Promise<void>;
}

const held = new Set<FileHandle>();

/** Takes the lock now, or answers null. */
export async function tryTakeLock(
  path: string,
  mode: 'shared' | 'exclusive',
): Promise<HeldLock | null> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  let taken = false;
  try {
    taken = tryLock(handle.fd, { shared: mode === 'shared' });
  } finally {
    if (!taken) await handle.close();
  }
  if (!taken) return null;
  held.add(handle);
  return {
    async release() {
      if (!held.delete(handle)) return;
      unlock(handle.fd);
      await handle.close();
    },
  };
}

/** Whether somebody else holds the lock exclusively. */
export async function isLocked(path: string): Promise<boolean> {
  const lock = await tryTakeLock(path, 'shared');
  await lock?.release();
  return lock === null;
}

const RETRY_FIRST_MS = 5;
const RETRY_MAX_MS = 100;

/** Tries again and again until the deadline; null then. */
export async function takeLock(
  path: string,
  mode: 'shared' | 'exclusive',
  timeoutMs: number,
): Promise<HeldLock | null> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = RETRY_FIRST_MS; ; pauseMs = Math.min(pauseMs * 2, RETRY_MAX_MS)) {
    const lock = await tryTakeLock(path, mode);
    if (lock !== null) return lock;
    if (performance.now() + pauseMs > deadline) return null;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/**
 * Whether somebody holds a lock on a file; null: that cannot be seen. Looked up, not tried: a try
 * could get in the way of a process that starts.
 */
export async function isLockHeld(path: string): Promise<boolean | null> {
  try {
    const { ino } = await stat(path);
    const locks = await readFile('/proc/locks', 'latin1');
    return locks.split('\n').some((line) => line.includes(`:${ino} `));
  } catch (error) {
    return systemCode(error) === 'ENOENT' && process.platform === 'linux' ? false : null;
  }
}
