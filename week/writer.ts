import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';

export const RECORD_BYTES = 2_048;
const LOCK_AGAIN_MS = 1;

/** Commits under the lock, as a database does; record n follows from journal and n. */
export class WeekWriter {
  records = 0;
  readonly #fd: number;

  constructor(
    readonly journal: string,
    path: string,
  ) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
  }

  get bytes(): number {
    return this.records * RECORD_BYTES;
  }

  /** Bytes that nobody has captured yet. */
  get waiting(): number {
    return fstatSync(this.#fd).size;
  }

  async commit(): Promise<void> {
    while (!tryLock(this.#fd)) await sleep(LOCK_AGAIN_MS);
    const bytes = record(this.journal, this.records + 1);
    let done = 0;
    while (done < bytes.length) done += writeSync(this.#fd, bytes, done);
    this.records += 1;
    unlock(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function record(journal: string, number: number): Buffer {
  const name = `#${journal}:${number}`;
  return Buffer.alloc(RECORD_BYTES, createHash('sha256').update(name).digest('hex')).fill(
    name.padEnd(24),
    0,
    24,
  );
}

/** Where what arrived differs from records 1 to `records`; null: nowhere. */
export async function difference(
  journal: string,
  records: number,
  arrived: AsyncIterable<Buffer>,
): Promise<string | null> {
  let number = 0;
  let rest = Buffer.alloc(0);
  for await (const batch of arrived) {
    rest = Buffer.concat([rest, batch]);
    let at = 0;
    for (; at + RECORD_BYTES <= rest.length; at += RECORD_BYTES) {
      number += 1;
      if (rest.compare(record(journal, number), 0, RECORD_BYTES, at, at + RECORD_BYTES) !== 0) {
        return `${journal}: another record than ${number} came in its place`;
      }
    }
    rest = rest.subarray(at);
  }
  if (rest.length > 0 || number !== records) {
    return `${journal}: ${number} records and ${rest.length} bytes came, ${records} were written`;
  }
  return null;
}
