import type { OpenFile } from './openFile.js';

/** Larger gains nothing, smaller costs turns through the thread pool. */
export const READ_AHEAD_BYTES = 1024 * 1024;

/** One is with the reader while the other is filled. */
const BUFFERS = 2;

/**
 * Reads [from, from + bytes) of a file piece by piece, one piece ahead, through two buffers: a stream
 * of Node's takes a new one for each piece, and half as much processor time again. A piece belongs to
 * the reader until it asks for the next. Ends early where the file ends, and at once where there is
 * nothing to read. When it is over no read is under way any more, also when its reader stopped early
 * and waited for that (`return()`).
 *
 * @param pieceBytes at most so many at once; default 1 MiB
 * @throws Error of the system's
 */
export async function* readAhead(
  file: Pick<OpenFile, 'read'>,
  from: number,
  bytes: number,
  pieceBytes = READ_AHEAD_BYTES,
): AsyncGenerator<Buffer, void> {
  if (bytes <= 0) return;
  const size = Math.min(pieceBytes, bytes);
  const buffers = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafe(size));
  const fill = async (at: number, turn: number): Promise<Buffer> => {
    const buffer = buffers[turn % BUFFERS] as Buffer;
    const { bytesRead } = await file.read(buffer, 0, Math.min(size, bytes - at), from + at);
    return buffer.subarray(0, bytesRead);
  };
  let coming = fill(0, 0);
  try {
    for (let at = 0, turn = 0; at < bytes; turn += 1) {
      const piece = await coming;
      if (piece.length === 0) return;
      at += piece.length;
      if (at < bytes) {
        coming = fill(at, turn + 1);
        coming.catch(() => undefined); // awaited above; a reader that stops early must not crash us
      }
      yield piece;
    }
  } finally {
    await coming.catch(() => undefined);
  }
}
