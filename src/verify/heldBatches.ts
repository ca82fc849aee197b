import { digestOf } from '../common/digest.js';
import { FerryError } from '../common/errors.js';
import { openSpoolBatch } from '../producers/spool/batchReader.js';
import type { SpoolBatch, SpoolView } from '../producers/spool/types.js';
import type { OnBytes } from './findings.js';
import { readSpool } from './readSpool.js';

/** What is wrong with a held batch. */
export interface HeldTrouble {
  batch: SpoolBatch;
  /** `gone`: no file; `short`: the file ends too early; `changed`: other bytes. */
  is: 'gone' | 'short' | 'changed';
}

/**
 * Reads the bytes of every held batch and compares their SHA-256 with the one of its seal. What is
 * freed or sealed anew meanwhile is no trouble.
 */
export async function checkHeld(
  dir: string,
  view: SpoolView,
  onBytes: OnBytes,
): Promise<HeldTrouble[]> {
  const troubles: HeldTrouble[] = [];
  for (const batch of [...view.batchesAfter(0)]) {
    let now: SpoolBatch | undefined = batch;
    let is = await compareBytes(dir, now, onBytes);
    // As its producer sees it at this moment: it may have freed it, or sealed more into it.
    for (let looks = 0; is !== null && looks < LOOKS; looks += 1) {
      now = (await readSpool(dir))?.view?.batch(batch.sequence);
      is = now === undefined ? null : await compareBytes(dir, now, () => undefined);
    }
    if (is !== null && now !== undefined) troubles.push({ batch: now, is });
  }
  return troubles;
}

const LOOKS = 3;

/** The bytes of a batch against its digest; null: they are its own. */
export async function compareBytes(
  dir: string,
  batch: Pick<SpoolBatch, 'location' | 'bytes' | 'sha256'>,
  onBytes: OnBytes,
): Promise<HeldTrouble['is'] | null> {
  try {
    const open = await openSpoolBatch(dir, batch.location, batch.bytes);
    try {
      return (await digestOf(open.read(), onBytes)).sha256 === batch.sha256 ? null : 'changed';
    } finally {
      await open.close();
    }
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    if (error.code === 'BATCH_GONE') return 'gone';
    if (error.code === 'SPOOL_DAMAGED') return 'short';
    throw error;
  }
}
