import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { tryLock, unlock } from 'fs-native-extensions';
import { FerryError } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';

/** Node's `ticketKeys`: name, HMAC and AES key. */
const TICKET_KEYS_BYTES = 48;

/** Makes a folder, mode 0700, and its entry durable. Nothing happens if it is there. */
export async function makeFolder(fs: FileSystem, path: string): Promise<void> {
  const first = await fs.mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let folder = path; folder.length >= first.length; folder = dirname(folder)) {
    await fs.syncDirectory(dirname(folder));
  }
}

/**
 * One receiver per data folder, by a lock that ends with the process however it ends.
 * @throws FerryError DATA_FOLDER_BUSY
 */
export async function lockDataFolder(
  fs: FileSystem,
  folder: string,
): Promise<{ release(): Promise<void> }> {
  const path = join(folder, 'receiver.lock');
  const handle = await fs.open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  if (!tryLock(handle.fd)) {
    await handle.close();
    throw new FerryError('DATA_FOLDER_BUSY', `another receiver uses ${folder}`, {
      kind: 'usage',
      hint: 'stop it, or give this one a data folder of its own',
    });
  }
  return {
    async release() {
      unlock(handle.fd);
      await handle.close();
    },
  };
}

/** The keys of session tickets, kept so that senders resume their sessions across our restarts. */
export async function ticketKeys(fs: FileSystem, folder: string): Promise<Buffer> {
  const path = join(folder, 'ticket.keys');
  const handle = await fs.open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const known = await readAll(handle);
    if (known.length === TICKET_KEYS_BYTES) return known;
    const fresh = randomBytes(TICKET_KEYS_BYTES);
    await handle.truncate(0);
    await handle.write(fresh, 0, fresh.length, 0);
    await handle.sync();
    return fresh;
  } finally {
    await handle.close();
  }
}

async function readAll(handle: FileHandle): Promise<Buffer> {
  const buffer = Buffer.alloc(TICKET_KEYS_BYTES + 1);
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
  return buffer.subarray(0, bytesRead);
}
