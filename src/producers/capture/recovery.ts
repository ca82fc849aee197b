/**
 * After a crash: is what was sealed still in the journal?
 *
 * A sealed batch is safe. What is open is only whether its bytes were taken out of the journal:
 * - this boot saw its `truncated` mark, or it is settled: they were.
 * - same boot otherwise: only the newest seal can be open (the one before was truncated, or the
 *   newest says at which offset it followed it). Its image at the front of the journal: leftover.
 * - another boot (power cut): any unsettled truncation may have been undone, so every unsettled
 *   seal is compared, newest first, and a journal that holds what the cut left of an image, some
 *   of its bytes missing or zero, is a leftover as well.
 * What follows a leftover is sealed as the next batch in the same hold; then the journal is
 * emptied. No image there: the truncation had happened, and all that is there is new.
 */
import type { Spool } from '../spool/spool.js';
import type { SpoolBatch } from '../spool/types.js';
import { compareWithImage } from './compare.js';
import { closerOf, openJournalFile, statOpened } from './journalFile.js';
import { journalReplaced, lockJournal } from './lock.js';
import type { CaptureNote, RecoveryOutcome } from './outcomes.js';
import { type Hold, markTruncated, sealAndTruncate } from './seal.js';

export async function recoverJournal(
  spool: Spool,
  path: string,
  notes: CaptureNote[],
  signal?: AbortSignal,
): Promise<RecoveryOutcome> {
  // A failed append may stand in the log's tail: from here on memory and disk say the same.
  await spool.repair();
  spool.publish();
  // The mark came after an fsync of the journal: nothing before it is open.
  if (spool.trimMark !== null) return { found: 'trimmed', bytes: spool.trimMark.bytes };
  const open = openSeals(spool);
  if (open.length === 0) return { found: 'nothing' };
  const journal = await openJournalFile(spool.fileSystem, path);
  const close = closerOf(journal);
  try {
    const lock = await lockJournal(journal.fd, path, signal);
    try {
      return await underLock({ spool, journal, close, path, lock, notes }, open);
    } finally {
      lock.release();
    }
  } finally {
    await close();
  }
}

/** The seals whose bytes may still be in the journal, newest first. */
function openSeals(spool: Spool): SpoolBatch[] {
  const newest = spool.batch(spool.lastSequence);
  if (newest === undefined || newest.sequence <= spool.settledThrough) return [];
  const { truncated } = spool;
  if (truncated?.sequence === newest.sequence && truncated.bootId === spool.bootId) return [];
  if (newest.bootId === spool.bootId) return [newest];
  return [...spool.batchesAfter(spool.settledThrough)].reverse();
}

async function underLock(hold: Hold, open: readonly SpoolBatch[]): Promise<RecoveryOutcome> {
  const { spool, journal, path, lock } = hold;
  const stats = statOpened(journal.fd, path);
  if (stats === undefined) throw journalReplaced(path);
  for (const seal of stats.size === 0 ? [] : open) {
    const match = await compareWithImage(journal, seal, spool);
    if (match.kind === 'different') continue;
    if (match.kind === 'leftover' && stats.size > match.length) {
      const { batch, lockHeldMs } = await sealAndTruncate(hold, {
        size: stats.size,
        inode: stats.ino,
        part: null,
        base: match.length,
        follows: seal.sequence,
      });
      return { found: 'leftover', of: seal.sequence, captured: batch, lockHeldMs };
    }
    await journal.truncate(0, stats.size);
    await markTruncated(hold, spool.lastSequence);
    return {
      found: 'leftover',
      of: seal.sequence,
      captured: null,
      lockHeldMs: lock.release(),
    };
  }
  await markTruncated(hold, spool.lastSequence);
  return { found: 'truncated' };
}
