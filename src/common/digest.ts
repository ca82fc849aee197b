import { createHash, hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { systemCode } from './errors.js';
import { openFile, READ_OTHERS } from './openFile.js';
import { READ_AHEAD_BYTES, readAhead } from './readAhead.js';

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

/** The same of a file, to where it ends. @throws Error of the system's */
export async function digestOfFile(
  path: string,
  onBytes?: (bytes: number) => void,
): Promise<Digest> {
  const file = await openFile(path, READ_OTHERS);
  try {
    const { size } = await file.stat();
    // A short one needs no large buffers, and a byte more shows where it ends.
    const pieceBytes = Math.min(READ_AHEAD_BYTES, size + 1);
    const pieces = readAhead(file, 0, Number.MAX_SAFE_INTEGER, pieceBytes);
    return await digestOf(pieces, onBytes);
  } finally {
    await file.close();
  }
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

/**
 * A checksum of pieces that come by: of the same bytes, seen twice, and of no use against anybody who
 * wants two files to have the same one. A third of a millisecond less per MiB than a SHA-256.
 */
export class Checksum {
  /** CRC-32 of all pieces so far. */
  value = 0;

  /** The same pieces, added up on their way. */
  async *over(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    for await (const piece of pieces) {
      this.add(piece);
      yield piece;
    }
  }

  add(piece: Uint8Array): void {
    this.value = crc32(piece, this.value);
  }
}
