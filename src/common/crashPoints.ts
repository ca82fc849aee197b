/**
 * Named places between "bytes are in the journal" and "receiver has confirmed and the spool is
 * free". A test names one in `FERRY_CRASH_AT` (`name` or `name:N` for the Nth passing) and the
 * process kills itself there with SIGKILL, as a power switch would.
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
  'spool.rolled',
  'spool.freeing',
  'spool.freed',
  'blob.seen',
  'blob.confirmed',
  'blob.noted',
  'blob.unlinked',
  'receiver.written',
  'receiver.synced',
  'receiver.committed',
  'receiver.folderMade',
  'receiver.renamed',
  'receiver.answered',
  'receiver.applied',
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

const [armedName, armedCount] = (process.env['FERRY_CRASH_AT'] ?? '').split(':');
let passingsLeft = Number(armedCount ?? 1);

/** Does nothing unless this very point is armed; then the process does not come back. */
export function crashPoint(name: CrashPoint): void {
  if (armedName !== name) return;
  passingsLeft -= 1;
  if (passingsLeft <= 0) process.kill(process.pid, 'SIGKILL');
}
