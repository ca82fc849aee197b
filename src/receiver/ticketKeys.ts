import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { join } from 'node:path';
import type { FileSystem } from '../common/fileSystem.js';

/** Node's `ticketKeys`: name, HMAC and AES key. */
const TICKET_KEYS_BYTES = 48;

/**
 * The keys of session tickets. They are kept in a file, so that senders resume their sessions
 * across our restarts, and replaced when they are old: whoever gets hold of them can read the
 * sessions that were resumed with them. A ticket under replaced keys costs its sender one full
 * handshake.
 */
export class TicketKeys {
  readonly #fs: FileSystem;
  readonly #path: string;
  readonly #maxAgeMs: number;

  /** @param folder the data folder @param maxAgeMs age at which the keys are replaced */
  constructor(fs: FileSystem, folder: string, maxAgeMs: number) {
    this.#fs = fs;
    this.#path = join(folder, 'ticket.keys');
    this.#maxAgeMs = maxAgeMs;
  }

  /** The keys to use now; new ones when the kept ones are old, or are none. */
  async current(): Promise<Buffer> {
    const handle = await this.#fs.open(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const buffer = Buffer.alloc(TICKET_KEYS_BYTES + 1);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
      const ageMs = Date.now() - (await handle.stat()).mtimeMs;
      if (bytesRead === TICKET_KEYS_BYTES && ageMs < this.#maxAgeMs) {
        return buffer.subarray(0, bytesRead);
      }
      const fresh = randomBytes(TICKET_KEYS_BYTES);
      await handle.truncate(0);
      await handle.write(fresh, 0, fresh.length, 0);
      await handle.sync();
      return fresh;
    } finally {
      await handle.close();
    }
  }
}
