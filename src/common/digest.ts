import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { systemCode } from './errors.js';

/** Few and large reads, and no more memory than that. */
const READ_BYTES = 1024 * 1024;

export interface Digest {
  bytes: number;
  /** 64 hex digits. */
  sha256: string;
}

/** SHA-256 of bytes that are all there, as 64 hex digits. */
export function sha256Of(bytes: Uint8Array): string {
  return hash('sha256', bytes);
}

/** Length and digest of all that comes. @param onBytes how far it is, piece by piece */
export async function digestOf(
  chunks: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<Digest> {
  const sum = createHash('sha256');
  let bytes = 0;
  for await (const chunk of chunks) {
    sum.update(chunk);
    bytes += chunk.length;
    onBytes(chunk.length);
  }
  return { bytes, sha256: sum.digest('hex') };
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
