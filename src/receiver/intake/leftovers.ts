import { constants } from 'node:fs';
import { join } from 'node:path';
import { FerryError, systemCode } from '../../common/errors.js';
import type { FileSystem } from '../../common/fileSystem.js';
import type { BatchRecord } from '../batchRecord.js';
import { isSafeAppName } from '../names.js';
import { type Frame, readFrames } from './frame.js';
import { type GroupMeta, type SegmentHead, segmentNumber } from './segment.js';

const READ_BYTES = 1024 * 1024;

/** A batch that the intake holds. */
export interface Leftover {
  segment: string;
  record: BatchRecord;
  /** Null: it lies in the part that the record names, or under its final name. */
  data: Buffer | null;
}

export interface Leftovers {
  /** The segments that are there, oldest first. */
  names: string[];
  /** By app, in the order of acceptance. */
  apps: Map<string, Leftover[]>;
}

/**
 * What an intake holds. A torn tail was promised to nobody and is passed over.
 *
 * @param how `durably`: what is read is on the disk then, also when a killed receiver had not come
 *   to its sync; `only`: beside a receiver, or for a look
 * @throws FerryError INTAKE_DAMAGED
 */
export async function readLeftovers(
  fs: FileSystem,
  folder: string,
  how: 'durably' | 'only',
): Promise<Leftovers> {
  const there = await fs.readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const names = there.filter((name) => segmentNumber(name) !== null).sort();
  const ends = new Map<string, number>();
  const read: { name: string; frames: Frame[] }[] = [];
  for (const name of names) {
    const { frames, damaged } = readFrames(await contentOf(fs, join(folder, name), how));
    if (damaged) throw intakeDamaged(join(folder, name));
    const head = frames.shift()?.meta as SegmentHead | undefined;
    for (const [other, end] of Object.entries(head?.ends ?? {})) ends.set(other, end);
    read.push({ name, frames });
  }
  if (how === 'durably' && names.length > 0) await fs.syncDirectory(folder);
  const apps = new Map<string, Leftover[]>();
  for (const { name, frames } of read) {
    const end = ends.get(name);
    if (end !== undefined && end > (frames.at(-1)?.end ?? 0)) {
      throw intakeDamaged(join(folder, name));
    }
    for (const frame of frames) {
      // Behind the end stands what a failed sync has left: it was refused.
      if (end !== undefined && frame.end > end) break;
      add(apps, name, frame);
    }
  }
  return { names, apps };
}

function add(apps: Map<string, Leftover[]>, segment: string, { meta, payload }: Frame): void {
  let at = 0;
  for (const [app, here, given] of meta as GroupMeta) {
    const record = given as BatchRecord;
    const data = here === 1 ? payload.subarray(at, at + record.bytes) : null;
    at += data?.length ?? 0;
    if (!isSafeAppName(app)) throw new Error(`${JSON.stringify(app)} is no app’s name`);
    const known = apps.get(app);
    if (known === undefined) apps.set(app, [{ segment, record, data }]);
    else known.push({ segment, record, data });
  }
}

async function contentOf(fs: FileSystem, path: string, how: 'durably' | 'only'): Promise<Buffer> {
  const handle = await fs.open(path, constants.O_RDONLY);
  try {
    const parts: Buffer[] = [];
    for (let at = 0; ; ) {
      const into = Buffer.allocUnsafe(READ_BYTES);
      const { bytesRead } = await handle.read(into, 0, into.length, at);
      if (bytesRead === 0) break;
      parts.push(into.subarray(0, bytesRead));
      at += bytesRead;
    }
    // Only the page cache may have the last frame, and from now on it counts.
    if (how === 'durably') await handle.datasync();
    return Buffer.concat(parts);
  } finally {
    await handle.close();
  }
}

function intakeDamaged(path: string): FerryError {
  return new FerryError('INTAKE_DAMAGED', `${path} is damaged`, {
    kind: 'storage',
    hint: 'restore the receiver’s data folder from a backup, or move this file away; senders replay what is missing',
  });
}
