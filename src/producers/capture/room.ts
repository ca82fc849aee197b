/** Is there room to capture? What is refused here stays in the journal, where it is safe. */
import { statfs } from 'node:fs/promises';
import type { Spool } from '../spool/spool.js';

/** Why bytes stay in the journal. */
export type HeldReason = 'spool-limit' | 'disk-floor';

/**
 * Free space that captures leave to everybody else on that disk. Too small: the log cannot note
 * acks any more, and nothing is freed; too large: a small disk ships nothing.
 */
export const DISK_FLOOR_BYTES = 64 * 1024 * 1024;
/** So long one look at the file system counts for all its journals. */
const LOOK_VALID_MS = 500;

interface Look {
  atMs: number;
  freeBytes: number;
}

const looks = new Map<number | string, Look>();

/** Free bytes on the disk of `dir`, less what captures took since the last look. */
async function freeBytes(dir: string, taking: number): Promise<number> {
  const key = dir.slice(0, dir.lastIndexOf('/'));
  const known = looks.get(key);
  if (known !== undefined && performance.now() - known.atMs < LOOK_VALID_MS) {
    known.freeBytes -= taking;
    return known.freeBytes + taking;
  }
  const { bavail, bsize } = await statfs(dir);
  const look = { atMs: performance.now(), freeBytes: bavail * bsize - taking };
  looks.set(key, look);
  return look.freeBytes + taking;
}

/** Null: `bytes` may be captured. */
export async function heldFor(
  spool: Spool,
  bytes: number,
  limits: { spoolBytes: number; diskFloorBytes: number },
): Promise<HeldReason | null> {
  if (!spool.hasRoom(bytes, limits.spoolBytes)) return 'spool-limit';
  if ((await freeBytes(spool.dir, bytes)) < limits.diskFloorBytes + bytes) return 'disk-floor';
  return null;
}
