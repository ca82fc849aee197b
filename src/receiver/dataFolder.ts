import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { tryLock, unlock } from 'fs-native-extensions';
import { FerryError, systemCode } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';

/** Node's `ticketKeys`: name, HMAC and AES key. */
const TICKET_KEYS_BYTES = 48;

/** Above a folder that was there already; more of them than any start makes in one go. */
const LEVELS_SYNCED_MIN = 2;

/**
 * Makes a folder, mode 0700, and the names that lead to it durable. One that is there already may
 * have been made by a receiver that was killed before it came to that.
 */
export async function makeFolder(fs: FileSystem, path: string): Promise<void> {
  const first = (await fs.mkdir(path, { recursive: true, mode: 0o700 })) ?? path;
  let folder = path;
  for (let level = 0; level < LEVELS_SYNCED_MIN || folder.length >= first.length; level += 1) {
    const parent = dirname(folder);
    await fs.syncDirectory(parent).catch((error: unknown) => {
      // One that we may not even read was not made by us.
      const code = systemCode(error);
      if (level === 0 || (code !== 'EACCES' && code !== 'EPERM')) throw error;
    });
    if (parent === folder) return;
    folder = parent;
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
