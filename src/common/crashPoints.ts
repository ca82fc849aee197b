import { readFileSync, unlinkSync } from 'node:fs';

/**
 * Named places between "bytes are in the journal" and "receiver has confirmed and the spool is
 * free". A test names some in `FERRY_CRASH_AT` (`name`, or `name:N` for the Nth passing, with
 * commas between them) and the process kills itself there with SIGKILL, as a power switch would.
 *
 * With `FERRY_CRASH_PID_FILE` another process is killed instead, a Redis for example: the one whose
 * id stands in that file. It is dead when this process goes on. The file is removed, so that it is
 * killed once; a point that is passed while there is no file is armed for its next passing.
 */
export const CRASH_POINTS = [
  'capture.precopied',
  'capture.locked',
  'capture.copied',
  'capture.sealed',
  'capture.truncated',
  'capture.marked',
  'capture.trimMarked',
  'capture.trimmed',
  'capture.settled',
  'feed.uploaded',
  'feed.accepted',
  'feed.queued',
  'worker.begun',
  'worker.beforeT',
  'worker.confirmed',
  'worker.acked',
  'worker.promoted',
  'producer.ackRecorded',
  'transfer.wished',
  'transfer.uploaded',
  'transfer.taken',
  'skip.kept',
  'skip.recorded',
  'skip.applied',
  'skip.audited',
  'replay.recorded',
  'replay.opened',
  'replay.audited',
  'spool.rolled',
  'spool.freeing',
  'spool.freed',
  'seals.synced',
  'seals.freed',
  'seals.taken',
  'archive.kept',
  'archive.indexed',
  'archive.recorded',
  'archive.pruned',
  'blob.seen',
  'blob.confirmed',
  'blob.noted',
  'blob.unlinked',
  'intake.written',
  'intake.settled',
  'intake.freed',
  'receiver.written',
  'receiver.synced',
  'receiver.committed',
  'receiver.folderMade',
  'receiver.renamed',
  'receiver.answered',
  'receiver.applied',
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

/** Passings that are left of each armed point. */
const armed = new Map<string, number>();
for (const point of (process.env['FERRY_CRASH_AT'] ?? '').split(',')) {
  const [name = '', count = '1'] = point.split(':');
  armed.set(name, Number(count));
}
const pidFile = process.env['FERRY_CRASH_PID_FILE'];

/** Does nothing unless this very point is armed; then this process, or the named one, is killed. */
export function crashPoint(name: CrashPoint): void {
  const passings = armed.get(name);
  if (passings === undefined) return;
  armed.set(name, Math.max(1, passings - 1));
  if (passings > 1) return;
  if (pidFile === undefined) process.kill(process.pid, 'SIGKILL');
  else if (killOther(pidFile)) {
    armed.delete(name);
    process.stderr.write(`crash point ${name}\n`);
  }
}

/** How long the kernel may take to end a process that was killed. */
const DEATH_MS = 5_000;

function killOther(file: string): boolean {
  let pid: number;
  try {
    pid = Number(readFileSync(file, 'utf8'));
    unlinkSync(file);
    process.kill(pid, 'SIGKILL');
  } catch {
    return false; // not there now
  }
  const deadline = performance.now() + DEATH_MS;
  while (isAlive(pid)) {
    if (performance.now() > deadline) throw new Error(`process ${pid} does not end`);
  }
  return true;
}

/** One that is dead and only waits to be collected is not alive. Linux, as the tests are. */
function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
