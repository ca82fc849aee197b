/**
 * The part of a capture that happens under the lock, used by captures and by recoveries: copy
 * what is left, seal it, look once more, truncate, mark, unlock.
 */

import { createHash } from 'node:crypto';
import { fstatSync } from 'node:fs';
import { crashPoint } from '../../common/crashPoints.js';
import { FerryError } from '../../common/errors.js';
import type { OpenFile } from '../../common/openFile.js';
import { readFully } from '../../common/readFully.js';
import type { Spool } from '../spool/spool.js';
import type { SpoolBatch } from '../spool/types.js';
import type { HeldLock } from './lock.js';
import { type CaptureNote, writtenWithoutLock } from './outcomes.js';
import { PartFile } from './partFile.js';

/** Batches up to here lie inside the log: one fdatasync seals them. Also the tail to aim for. */
export const INLINE_MAX_BYTES = 256 * 1024;
/** So often a journal may have grown under our lock before we call its writer lockless. */
const GROWN_ROUNDS_MAX = 8;

export interface Hold {
  spool: Spool;
  journal: OpenFile;
  /** Closes the journal, once; its opener calls it, too. */
  close: () => Promise<void>;
  path: string;
  lock: HeldLock;
  notes: CaptureNote[];
}

export interface SealPlan {
  /** Size and inode of the journal, seen under the lock. */
  size: number;
  inode: number;
  /** The copy so far; null: nothing is copied yet. Given over: closed here in any case. */
  part: PartFile | null;
  /** What lies below `base` is a leftover of batch `follows`. */
  base: number;
  follows: number;
}

/**
 * Seals [base, size) of the journal as the next batch, empties the journal and unlocks it.
 * The batch is published. Rejects with the journal untouched, or with a sealed batch whose bytes
 * may still be in the journal (then `spool.lastSequence` has risen): a recovery sorts that out.
 */
export async function sealAndTruncate(
  hold: Hold,
  plan: SealPlan,
): Promise<{ batch: SpoolBatch; lockHeldMs: number }> {
  const { spool, journal, path, lock, notes } = hold;
  const copy: { part: PartFile | null } = { part: plan.part };
  let { size } = plan;
  let sealed: SpoolBatch | undefined;
  try {
    for (let round = 0; ; round += 1) {
      sealed = await sealRange(hold, plan, copy, size);
      crashPoint('capture.sealed');
      const { size: now } = fstatSync(journal.fd);
      if (now <= size) break;
      if (round === GROWN_ROUNDS_MAX) throw writtenWithoutLock(path);
      if (round === 0) {
        notes.push({
          code: 'JOURNAL_WRITTEN_WITHOUT_LOCK',
          message: `${path} grew while we held its lock; the new bytes joined the batch`,
        });
      }
      size = now;
    }
    await journal.truncate(0, size);
    crashPoint('capture.truncated');
    await markTruncated(hold, sealed.sequence);
    crashPoint('capture.marked');
    const lockHeldMs = lock.release();
    // At once: ext4 writes out what a file holds when it is closed behind a truncation, and that
    // would be the writer's next commit. Its opener hears of a failure.
    hold.close().catch(() => undefined);
    return { batch: sealed, lockHeldMs };
  } catch (error) {
    // Without a seal the copy is worthless, unless it is the only one.
    if (sealed === undefined && copy.part !== null) await dropPart(spool, copy.part);
    else await copy.part?.close();
    copy.part = null;
    throw error;
  } finally {
    if (sealed !== undefined) spool.publish();
    await copy.part?.close();
  }
}

/** Notes the truncation; that it cannot be noted is no reason to fail: it has happened. */
export async function markTruncated(hold: Pick<Hold, 'spool' | 'notes'>, sequence: number) {
  try {
    await hold.spool.recordTruncated(sequence);
  } catch (error) {
    hold.notes.push({ code: 'MARK_NOT_WRITTEN', message: String(error) });
  }
}

/**
 * Gives a copy up. It is deleted only when the log durably does not know it; a failed seal may
 * still be readable in the log's old tail, and would then name a file that is gone. What cannot
 * be deleted now is deleted when the spool is opened next. A trimmed copy is kept, a sealed one anyway.
 */
export async function dropPart(spool: Spool, part: PartFile): Promise<void> {
  if (part.trimmed > 0 || spool.isSealed(part.sequence)) {
    await part.close();
    return;
  }
  try {
    await spool.sync();
  } catch {
    await part.close();
    return;
  }
  await part.discard().catch(() => undefined);
}

async function sealRange(
  { spool, journal, path }: Hold,
  { base, follows, inode }: SealPlan,
  copy: { part: PartFile | null },
  size: number,
): Promise<SpoolBatch> {
  const bytes = size - base;
  if (copy.part === null && bytes > INLINE_MAX_BYTES) {
    copy.part = await PartFile.create(spool, base);
  }
  const { part } = copy;
  let payload: Buffer | null = null;
  if (part === null) {
    payload = Buffer.allocUnsafe(bytes);
    if ((await readFully(journal, payload, bytes, base)) < bytes) throw shrunk(path);
  } else {
    await part.copyTo(journal, size);
    if (part.copied < bytes) throw shrunk(path);
    await part.sync();
  }
  crashPoint('capture.copied');
  return spool.seal({
    sequence: spool.nextSequence,
    bytes,
    sha256:
      part?.digest() ??
      createHash('sha256')
        .update(payload ?? '')
        .digest('hex'),
    inode,
    journalOffset: base,
    follows,
    trimmedBytes: part?.trimmed ?? 0,
    payload,
  });
}

function shrunk(path: string): FerryError {
  return new FerryError('JOURNAL_SHRUNK', `${path} became shorter while we held its lock`, {
    kind: 'storage',
    hint: 'somebody truncates the journal without its lock: only one shipper per journal',
    context: { path },
  });
}
