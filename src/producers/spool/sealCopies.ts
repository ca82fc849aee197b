/**
 * The files of seal logs: copies of seals that are durable here before they are in the log of their
 * spool. One record per seal, framed as in a spool's log; its payload is the seal's own record, byte
 * for byte. Its meta says where in the spool's log that record was written.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../../common/errors.js';
import type { FileSystem } from '../../common/fileSystem.js';
import { readFully } from '../../common/readFully.js';
import type { Fact } from './facts.js';
import type { LoadedSpool } from './load.js';
import { COPY_MAGIC, decodeRecord, encodeRecord, scanSegment } from './record.js';

export type Seal = Extract<Fact, { t: 'seal' }>;

/** A place in a spool's log. */
export interface LogPlace {
  segment: number;
  offset: number;
}

/** A seal as a spool has just written it into its own log. */
export interface SealRecord extends LogPlace {
  /** Name of the spool's directory. */
  spool: string;
  stream: string;
  sequence: number;
  /** Header and meta, then payload. */
  record: readonly [Buffer, Buffer];
}

/** A copy of it in a seal log. */
export interface SealCopy extends LogPlace {
  stream: string;
  sequence: number;
  path: string;
  /** Of the seal's record in that file. */
  recordOffset: number;
  recordBytes: number;
}

interface CopyMeta {
  t: 'copy';
  spool: string;
  stream: string;
  seq: number;
  seg: number;
  off: number;
}

const NAME = /^([0-9a-f]{16})-[0-9a-f]{16}-\d{10}\.seals$/;
const BOOT_DIGITS = 16;

/** Where the seal logs are of all processes that work, or have worked, in a state directory. */
export function sealsDirIn(stateDir: string): string {
  return join(stateDir, 'seals');
}

/** @param run 16 hex digits of this process */
export function sealsName(bootId: string, run: string, number: number): string {
  return `${bootDigits(bootId)}-${run}-${String(number).padStart(10, '0')}.seals`;
}

function bootDigits(bootId: string): string {
  return createHash('sha256').update(bootId).digest('hex').slice(0, BOOT_DIGITS);
}

/** @param synced so many bytes of the file are durable */
export function encodeCopy(seal: SealRecord, synced: number): Buffer[] {
  const { spool, stream, sequence, segment, offset, record } = seal;
  const meta: CopyMeta = { t: 'copy', spool, stream, seq: sequence, seg: segment, off: offset };
  return [encodeRecord(meta, record, synced, COPY_MAGIC), ...record];
}

export interface SealsFile {
  /** By spool, as they were written. */
  copies: ReadonlyMap<string, readonly SealCopy[]>;
  /** What was durable cannot be read: it may hold copies that nobody finds. */
  damaged: boolean;
}

/** What a dead process has left does not change: each file is read once. */
const known = new WeakMap<FileSystem, Map<string, SealsFile>>();

/** What stands in a seal log; of a torn tail nothing. */
async function readSealsFile(path: string, fileSystem: FileSystem): Promise<SealsFile> {
  const handle = await fileSystem.open(path, constants.O_RDONLY);
  try {
    const { size } = await handle.stat();
    const content = Buffer.allocUnsafe(size);
    const got = await readFully(handle, content, size, 0);
    const scan = scanSegment(content.subarray(0, got), COPY_MAGIC);
    const copies = new Map<string, SealCopy[]>();
    for (const { meta, payloadOffset, payloadBytes } of scan.records) {
      const { spool, stream, seq, seg, off } = meta as CopyMeta;
      const of = copies.get(spool) ?? [];
      copies.set(spool, of);
      const place = { path, recordOffset: payloadOffset, recordBytes: payloadBytes };
      of.push({ stream, sequence: seq, segment: seg, offset: off, ...place });
    }
    return { copies, damaged: scan.damaged };
  } finally {
    await handle.close();
  }
}

/** The same, read once and remembered: for files that nobody writes to any more. */
export async function readLeftSeals(path: string, fileSystem: FileSystem): Promise<SealsFile> {
  const files = known.get(fileSystem) ?? new Map<string, SealsFile>();
  known.set(fileSystem, files);
  const file = files.get(path) ?? (await readSealsFile(path, fileSystem));
  files.set(path, file);
  return file;
}

export function forgetLeftSeals(path: string, fileSystem: FileSystem): void {
  known.get(fileSystem)?.delete(path);
}

/** Seal logs in this directory, by name; none where there is no directory. */
export async function sealsFiles(dir: string, fileSystem: FileSystem): Promise<string[]> {
  try {
    return (await fileSystem.readdir(dir)).filter((name) => NAME.test(name)).sort();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** A spool as its own log says, to be compared with copies. */
export interface SpoolEnd {
  stream: string;
  lastSequence: number;
  /** Null: it is confirmed and forgotten. */
  lastSha256: string | null;
  /** Where the log ends. */
  end: LogPlace;
}

export function endOf({ state, segment, end }: LoadedSpool): SpoolEnd {
  return {
    stream: state.stream,
    lastSequence: state.last,
    lastSha256: state.batches.get(state.last)?.sha256 ?? null,
    end: { segment, offset: end },
  };
}

/**
 * Whether the log of a spool lacks what a copy has: a power cut took the end of it. What stands
 * before that end and is not in the state was taken back there.
 */
export async function isMissing(
  copy: SealCopy,
  spool: SpoolEnd,
  fileSystem: FileSystem,
): Promise<boolean> {
  if (copy.stream !== spool.stream || !isBehind(copy, spool.end)) return false;
  if (copy.sequence !== spool.lastSequence) return copy.sequence > spool.lastSequence;
  // Sealed once more, since its journal grew under the lock.
  if (spool.lastSha256 === null) return false;
  return (await readCopy(copy, fileSystem)).fact.sha !== spool.lastSha256;
}

function isBehind(place: LogPlace, end: LogPlace): boolean {
  return (
    place.segment > end.segment || (place.segment === end.segment && place.offset >= end.offset)
  );
}

/**
 * The seals that the log of a spool lacks: the last one of each sequence, ascending. Only boots that
 * are over leave such: within one the page cache has all that was written.
 *
 * @param dir the spool's directory, `<state>/spool/<name>`
 */
export async function missingSeals(
  dir: string,
  spool: SpoolEnd & { bootId: string },
  fileSystem: FileSystem,
): Promise<{ fact: Seal; payload: Buffer }[]> {
  const sealsDir = sealsDirIn(dirname(dirname(dir)));
  const name = basename(dir);
  const newest = new Map<number, SealCopy>();
  for (const file of await sealsFiles(sealsDir, fileSystem)) {
    if (file.startsWith(bootDigits(spool.bootId))) continue;
    const { copies } = await readLeftSeals(join(sealsDir, file), fileSystem).catch(goneMeanwhile);
    for (const copy of copies.get(name) ?? []) {
      if (!(await isMissing(copy, spool, fileSystem))) continue;
      const other = newest.get(copy.sequence);
      if (other === undefined || isBehind(copy, other)) newest.set(copy.sequence, copy);
    }
  }
  const ascending = [...newest.values()].sort((a, b) => a.sequence - b.sequence);
  return Promise.all(ascending.map((copy) => readCopy(copy, fileSystem)));
}

async function readCopy(
  { path, recordOffset, recordBytes }: SealCopy,
  fileSystem: FileSystem,
): Promise<{ fact: Seal; payload: Buffer }> {
  const handle = await fileSystem.open(path, constants.O_RDONLY);
  try {
    const content = Buffer.allocUnsafe(recordBytes);
    const got = await readFully(handle, content, recordBytes, recordOffset);
    const record = decodeRecord(content.subarray(0, got), 0);
    if (record === undefined) throw new Error(`the copy at ${recordOffset} of ${path} is torn`);
    return { fact: record.meta as Seal, payload: content.subarray(record.payloadOffset) };
  } finally {
    await handle.close();
  }
}

/** Whoever frees a seal log has made sure that every spool has what was in it. */
function goneMeanwhile(error: unknown): SealsFile {
  if (systemCode(error) !== 'ENOENT') throw error;
  return { copies: new Map(), damaged: false };
}
