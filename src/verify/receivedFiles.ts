import { join } from 'node:path';
import { digestIfThere } from '../common/digest.js';
import type { BatchRecord } from '../receiver/batchRecord.js';
import { batchFileName } from '../receiver/batchStore.js';
import type { OnBytes } from './findings.js';

/** The file of an accepted batch, against its record. `sha256` is null when it has another length. */
export type FileVerdict =
  | { is: 'equal' }
  | { is: 'missing' }
  | { is: 'changed'; bytes: number; sha256: string };

/** Where the bytes of a batch lie: under its name, or, right behind its acceptance, in `tmp`. */
export async function checkFile(
  folder: string,
  record: BatchRecord,
  onBytes: OnBytes,
): Promise<FileVerdict> {
  const named = join(folder, 'batches', batchFileName(record.number));
  // Last the name again: it may have got it since the first look.
  for (const path of [named, join(folder, 'tmp', record.part), named]) {
    const read = await digestIfThere(path, onBytes);
    if (read === null) continue;
    const equal = read.sha256 === record.sha256 && read.bytes === record.bytes;
    return equal ? { is: 'equal' } : { is: 'changed', ...read };
  }
  return { is: 'missing' };
}
