/**
 * Opt-in (`flush.trimAbove`): gives the durable, pre-copied prefix of a huge journal back to the
 * file system before the lock is taken, chunk by chunk, because `ftruncate(0)` of a written-back
 * 512 MB file holds the lock for half a second.
 *
 * The order is what makes it safe: copy durable, journal durable (else a power cut could leave it
 * shorter than the mark, and everything about older leftovers would be open again), mark durable,
 * punch. From the mark on the part file is the only copy of [0, mark) and is never dropped.
 */

import { crashPoint } from '../../common/crashPoints.js';
import type { OpenFile } from '../../common/openFile.js';
import type { Spool } from '../spool/spool.js';
import type { PartFile } from './partFile.js';

/** A punch of this size takes some ms; the file is busy for its writer meanwhile. */
const PUNCH_BYTES = 16 * 1024 * 1024;
/** Holes are punched in whole blocks. Every file system's block divides it. */
const ALIGN_BYTES = 64 * 1024;

/**
 * Releases what `part` holds durably. `stillOurs` is asked before each punch: false ends it.
 * Returns the new mark.
 */
export async function releasePrefix(
  journal: OpenFile,
  part: PartFile,
  spool: Spool,
  inode: number,
  stillOurs: () => Promise<boolean>,
): Promise<number> {
  const until = part.copied - (part.copied % ALIGN_BYTES);
  if (until <= part.trimmed) return part.trimmed;
  await part.sync();
  const gone = spool.lastSequence;
  await journal.sync();
  // Everything sealed before is gone from the journal for ever: that fsync made it so.
  await spool.recordSettled(gone);
  while (part.trimmed < until && (await stillOurs())) {
    const mark = Math.min(until, part.trimmed + PUNCH_BYTES);
    await spool.recordTrim(part.sequence, mark, inode);
    const from = part.trimmed;
    part.trimmed = mark;
    crashPoint('capture.trimMarked');
    await spool.fileSystem.punchHole(journal, from, mark - from);
    crashPoint('capture.trimmed');
  }
  return part.trimmed;
}
