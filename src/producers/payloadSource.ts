import { openBlob, statBlob } from '../common/blob.js';
import { FerryError } from '../common/errors.js';
import type { OpenFile } from '../common/openFile.js';
import { readFully } from '../common/readFully.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import type { PayloadSource, PayloadStore } from '../queue/payload/payloadStore.js';
import { RedisPayloads } from '../queue/payload/redisPayloads.js';
import { SpoolPayloads } from '../queue/payload/spoolPayloads.js';
import type { BatchStore } from './batchStore.js';

/** The store that the configuration asks for. */
export function payloadsOf(config: FerryConfig, access: QueueAccess): PayloadStore {
  return config.payloads === 'redis'
    ? new RedisPayloads(access.data, access.keys)
    : new SpoolPayloads(config.stateDir);
}

/** A batch of the spool or the archive, readable in ranges. The caller closes it. */
export async function sourceOfBatch(store: BatchStore, sequence: number): Promise<PayloadSource> {
  const batch = await store.open(sequence);
  return {
    bytes: batch.bytes,
    inode: 0,
    mtimeMs: 0,
    read: (from, to) => readRange(batch.handle, batch.offset + from, to - from, batch.path),
    close: () => batch.close(),
  };
}

/**
 * A blob's file as it is now: the length is fixed at open. The caller closes it.
 *
 * @throws Error of the system's; FerryError BLOB_NOT_A_FILE
 */
export async function sourceOfBlob(path: string): Promise<PayloadSource> {
  const handle = await openBlob(path);
  const { size, ino, mtimeMs } = await statBlob(handle, path);
  return {
    bytes: size,
    inode: ino,
    mtimeMs,
    read: (from, to) => readRange(handle, from, to - from, path),
    close: () => handle.close(),
  };
}

async function readRange(
  handle: OpenFile,
  position: number,
  bytes: number,
  path: string,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(bytes);
  if ((await readFully(handle, buffer, bytes, position)) < bytes) {
    throw new FerryError('PAYLOAD_SHORT', `${path} became shorter while it was read`, {
      kind: 'storage',
      hint: 'it is tried again at the interval of the route',
    });
  }
  return buffer;
}
