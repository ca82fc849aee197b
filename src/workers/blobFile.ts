import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  open,
  openSync,
  read,
  readSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { FerryError } from '../common/errors.js';
import { Haste } from '../common/haste.js';
import { CHUNK_BYTES, WHOLE_MAX_BYTES } from '../queue/payload/payloadStore.js';

/** A blob or batch that is open for one send. */
export interface OpenPayload {
  bytes: number;
  chunks: AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

export type OpenBlob = OpenPayload & { inode: number; mtimeMs: number };

/** Somebody may have put a pipe there, which would open only when it is written to. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

/** Small ones are read in one go, and at once while the disk is quick: a stream costs far more. */
const haste = new Haste();

const opened = promisify(open);
const readInto = promisify(read);

/**
 * The file that the link named when it was seen, with the length that it has now. Not through the
 * link: that may lead elsewhere by now, and the path on the wire must be the path of these bytes.
 *
 * @param link path of the link  @param text what it said
 * @throws FerryError BLOB_MISSING, BLOB_NOT_A_FILE
 */
export async function openBlobFile(link: string, text: string): Promise<OpenBlob> {
  const file = resolve(dirname(link), text);
  const fd = await openNow(file).catch((cause: unknown) => {
    throw new FerryError('BLOB_MISSING', `there is no blob ${text}`, {
      kind: 'storage',
      hint: 'with "payloads: spool" the worker must see the blob directory; a blob that is gone is dropped by its producer',
      cause,
    });
  });
  const stats = fstatSync(fd);
  if (!stats.isFile()) {
    closeSync(fd);
    throw new FerryError('BLOB_NOT_A_FILE', `the blob ${text} is not a regular file`, {
      kind: 'storage',
      hint: 'point the link at a file, or remove it',
    });
  }
  const { size, ino, mtimeMs } = stats;
  const facts = { bytes: size, inode: ino, mtimeMs };
  if (size <= WHOLE_MAX_BYTES) return { ...facts, ...inOneGo(fd, size) };
  const stream = createReadStream('', {
    fd,
    highWaterMark: CHUNK_BYTES,
    start: 0,
    end: size - 1,
  });
  return {
    ...facts,
    chunks: stream,
    async close() {
      if (stream.closed) return;
      const closed = new Promise<void>((resolve) => stream.once('close', resolve));
      stream.on('error', () => undefined); // its reader has met it, or is gone
      stream.destroy(); // a read that is under way ends before the file is closed
      await closed;
    },
  };
}

async function openNow(file: string): Promise<number> {
  return haste.run(
    () => openSync(file, FLAGS),
    () => opened(file, FLAGS),
  );
}

/** What is there of `bytes`, one piece; whoever sends says what is wrong with another length. */
function inOneGo(fd: number, bytes: number): Pick<OpenBlob, 'chunks' | 'close'> {
  let reading: number | Promise<number> = 0;
  async function* chunks(): AsyncGenerator<Uint8Array, void> {
    const whole = Buffer.allocUnsafe(bytes);
    let at = 0;
    while (at < bytes) {
      const [from, length] = [at, bytes - at];
      reading = haste.run(
        () => readSync(fd, whole, from, length, from),
        async () => (await readInto(fd, whole, from, length, from)).bytesRead,
      );
      const bytesRead = await reading;
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    if (at > 0) yield whole.subarray(0, at);
  }
  return {
    chunks: chunks(),
    async close() {
      await Promise.resolve(reading).catch(() => undefined); // the number may be another file's soon
      closeSync(fd);
    },
  };
}
