import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../common/errors.js';
import type { BatchRecord } from '../receiver/batchRecord.js';
import { batchFileName } from '../receiver/batchStore.js';
import type { OnBytes } from './findings.js';

const READ_BYTES = 1024 * 1024;

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
    const read = await digestOf(path, onBytes);
    if (read === null) continue;
    const equal = read.sha256 === record.sha256 && read.bytes === record.bytes;
    return equal ? { is: 'equal' } : { is: 'changed', ...read };
  }
  return { is: 'missing' };
}

/** null: there is no such file. */
async function digestOf(
  path: string,
  onBytes: OnBytes,
): Promise<{ bytes: number; sha256: string } | null> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) {
      hash.update(chunk);
      bytes += chunk.length;
      onBytes(chunk.length);
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
  return { bytes, sha256: hash.digest('hex') };
}
