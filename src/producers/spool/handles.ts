/**
 * A bound on open log files: with 10,000 journals not every log can keep one. The logs that wrote
 * last keep theirs; the others open the file again when they next have something to say.
 */
import { readFileSync } from 'node:fs';
import type { OpenFile } from '../../common/openFile.js';

/** Too few costs an open and a close per append: every log of a thousand busy journals fits. */
const OPEN_LOGS_MAX = 2_000;
/** Where that cannot be known, descriptors may end at 1024. */
export const OPEN_LOGS_MIN = 200;
/** Of the descriptors that the process may have. */
const LOGS_SHARE = 0.25;

/** So many logs keep their file open. */
export const openLogsMax = logsFor(descriptorLimit());

/** @param descriptors that the process may have; null: unknown */
export function logsFor(descriptors: number | null): number {
  const share = Math.floor((descriptors ?? 0) * LOGS_SHARE);
  return Math.min(OPEN_LOGS_MAX, Math.max(OPEN_LOGS_MIN, share));
}

/** Node raises the soft limit to the hard one at its start, so this is the one that counts. */
function descriptorLimit(): number | null {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.NaN) || null;
  } catch {
    return null; // not Linux
  }
}

export interface HandleOwner {
  /** Closes the owner's file if it is not at work just now; false when it is. */
  releaseIfIdle(): Promise<boolean>;
}

const recent = new Set<HandleOwner>();

/** To be called after each use; lets the least recently used owner close its file. */
export async function touchHandle(owner: HandleOwner): Promise<void> {
  recent.delete(owner);
  recent.add(owner);
  if (recent.size <= openLogsMax) return;
  for (const oldest of recent) {
    if (oldest === owner) return;
    recent.delete(oldest);
    if (await oldest.releaseIfIdle()) return;
    recent.add(oldest);
  }
}

export function forgetHandle(owner: HandleOwner): void {
  recent.delete(owner);
}

/** Writes all of `data` at `position`; a short write is continued, never taken for success. */
export async function writeAll(handle: OpenFile, data: Buffer, position: number): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const { bytesWritten } = await handle.write(data, done, data.length - done, position + done);
    if (bytesWritten === 0) throw Object.assign(new Error('nothing written'), { code: 'EIO' });
    done += bytesWritten;
  }
}
