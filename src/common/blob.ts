import type { Stats } from 'node:fs';
import { FerryError } from './errors.js';
import { blobHaste } from './haste.js';
import { type OpenFile, openFile, READ_OTHERS } from './openFile.js';

/** Opens what lies in a blob's place, whatever that is. @throws Error of the system's */
export function openBlob(path: string): Promise<OpenFile> {
  return openFile(path, READ_OTHERS, undefined, blobHaste);
}

/**
 * The facts of an open blob. It is closed when it has none.
 *
 * @param name for the error
 * @throws FerryError BLOB_NOT_A_FILE, Error of the system's
 */
export async function statBlob(file: OpenFile, name: string): Promise<Stats> {
  try {
    const stats = await file.stat();
    if (stats.isFile()) return stats;
    throw new FerryError('BLOB_NOT_A_FILE', `the blob ${name} is not a regular file`, {
      kind: 'storage',
      hint: 'point the link at a file, or remove it',
    });
  } catch (error) {
    await file.close();
    throw error;
  }
}
