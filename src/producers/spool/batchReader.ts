/** Reading a batch's bytes: from the producer itself or from any process that sees its files. */

import { FerryError, systemCode } from '../../common/errors.js';
import { type OpenFile, openFile } from '../../common/openFile.js';
import { readFully } from '../../common/readFully.js';
import type { BatchLocation } from './types.js';

/** Size of the reused buffers: measured best between 256 KiB and 1 MiB for TLS and for disks. */
export const READ_BYTES = 512 * 1024;

export interface OpenBatch {
  readonly handle: OpenFile;
  readonly path: string;
  /** Of the first payload byte. */
  readonly offset: number;
  readonly bytes: number;
  /**
   * The payload in order. Every buffer is reused: it is valid until the next step, or, with
   * `buffers` > 1, for so many steps minus one.
   */
  read(options?: { buffers?: number; chunkBytes?: number }): AsyncGenerator<Buffer, void>;
  close(): Promise<void>;
}

/**
 * Opens the payload at `location` of the spool in `dir`. Works in a read-only process beside the
 * producer; an open batch stays readable even when the producer deletes its file meanwhile.
 *
 * Throws BATCH_GONE (its file is deleted: every route has confirmed it) and SPOOL_DAMAGED (the
 * file is shorter than the batch).
 */
export async function openSpoolBatch(
  dir: string,
  location: BatchLocation,
  bytes: number,
): Promise<OpenBatch> {
  const path = `${dir}/${location.file}`;
  let handle: OpenFile;
  try {
    handle = await openFile(path, 'r');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw new FerryError('BATCH_GONE', `${path} is no longer in the spool`, {
      kind: 'storage',
      hint: 'it is confirmed by every route, or the worker sees another state directory than the producer',
      context: { path },
      cause: error,
    });
  }
  const { size } = await handle.stat();
  if (size < location.offset + bytes) {
    await handle.close();
    throw shortFile(path, size, location.offset + bytes);
  }
  return {
    handle,
    path,
    offset: location.offset,
    bytes,
    read: (options) => readPayload(handle, path, location.offset, bytes, options),
    close: () => handle.close(),
  };
}

async function* readPayload(
  handle: OpenFile,
  path: string,
  offset: number,
  bytes: number,
  { buffers = 1, chunkBytes = READ_BYTES }: { buffers?: number; chunkBytes?: number } = {},
): AsyncGenerator<Buffer, void> {
  const size = Math.min(chunkBytes, bytes);
  const pool = Array.from({ length: buffers }, () => Buffer.allocUnsafe(size));
  for (let done = 0, turn = 0; done < bytes; turn += 1) {
    const buffer = pool[turn % buffers] ?? Buffer.allocUnsafe(size);
    const wanted = Math.min(size, bytes - done);
    const got = await readFully(handle, buffer, wanted, offset + done);
    if (got < wanted) throw shortFile(path, offset + done + got, offset + bytes);
    done += got;
    yield buffer.subarray(0, got);
  }
}

function shortFile(path: string, size: number, needed: number): FerryError {
  return new FerryError('SPOOL_DAMAGED', `${path} holds ${size} of ${needed} bytes`, {
    kind: 'storage',
    retry: false,
    hint: 'check the disk of the state directory and restore the file',
    context: { path, size, needed },
  });
}
