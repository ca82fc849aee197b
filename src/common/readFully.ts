import type { OpenFile } from './openFile.js';

/** Reads [position, position + length) into `into`; fewer bytes only where the file ends. */
export async function readFully(
  handle: Pick<OpenFile, 'read'>,
  into: Buffer,
  length: number,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(into, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
