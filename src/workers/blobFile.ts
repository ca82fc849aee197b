import { dirname, resolve } from 'node:path';
import { openBlob, statBlob } from '../common/blob.js';
import { FerryError } from '../common/errors.js';
import type { OpenFile } from '../common/openFile.js';
import { readAhead } from '../common/readAhead.js';
import { readFully } from '../common/readFully.js';
import { CHUNK_BYTES, WHOLE_MAX_BYTES } from '../queue/payload/payloadStore.js';

/** A blob or batch that is open for one send. */
export interface OpenPayload {
  bytes: number;
  chunks: AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

export type OpenBlob = OpenPayload & { inode: number; mtimeMs: number };

/**
 * The file that the link named when it was seen, with the length that it has now. Not through the
 * link: that may lead elsewhere by now, and the path on the wire must be the path of these bytes.
 *
 * @param link path of the link  @param text what it said
 * @returns fewer bytes than announced where it has become shorter: whoever sends says so
 * @throws FerryError BLOB_MISSING, BLOB_NOT_A_FILE
 */
export async function openBlobFile(link: string, text: string): Promise<OpenBlob> {
  const file = await openBlob(resolve(dirname(link), text)).catch((cause: unknown) => {
    throw new FerryError('BLOB_MISSING', `there is no blob ${text}`, {
      kind: 'storage',
      hint: 'with "payloads: spool" the worker must see the blob directory; a blob that is gone is dropped by its producer',
      cause,
    });
  });
  const { size, ino, mtimeMs } = await statBlob(file, text);
  let reading: Promise<unknown> = Promise.resolve();
  const source: Pick<OpenFile, 'read'> = {
    read(...range) {
      const read = file.read(...range);
      reading = read.catch(() => undefined);
      return read;
    },
  };
  return {
    bytes: size,
    inode: ino,
    mtimeMs,
    chunks: size <= WHOLE_MAX_BYTES ? whole(source, size) : readAhead(source, 0, size, CHUNK_BYTES),
    async close() {
      // The number may be another file's soon; and behind a read there may be another one.
      for (let last: unknown; last !== reading; ) {
        last = reading;
        await last;
      }
      await file.close();
    },
  };
}

/** A small one in one piece, so that it is read in one go. */
async function* whole(
  file: Pick<OpenFile, 'read'>,
  bytes: number,
): AsyncGenerator<Uint8Array, void> {
  const buffer = Buffer.allocUnsafe(bytes);
  const got = await readFully(file, buffer, bytes, 0);
  if (got > 0) yield buffer.subarray(0, got);
}
