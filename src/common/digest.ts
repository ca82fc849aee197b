import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { systemCode } from './errors.js';

/** Few and large reads, and no more memory than that. */
const READ_BYTES = 1024 * 1024;

export interface Digest {
  bytes: number;
  /** 64 hex digits. */
  sha256: string;
}

/** Length and digest of all that comes. @param onBytes how far it is, piece by piece */
export async function digestOf(
  chunks: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<Digest> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    bytes += chunk.length;
    onBytes(chunk.length);
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** The same of a file. @throws Error of the system's */
export function digestOfFile(path: string, onBytes?: (bytes: number) => void): Promise<Digest> {
  return digestOf(createReadStream(path, { highWaterMark: READ_BYTES }), onBytes);
}

/** The same of a file that need not be there. @returns null when it is not */
export async function digestIfThere(
  path: string,
  onBytes?: (bytes: number) => void,
): Promise<Digest | null> {
  try {
    return await digestOfFile(path, onBytes);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}
