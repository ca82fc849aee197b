/**
 * Reads a spool's directory: finds the newest segment that begins with a whole checkpoint and
 * applies what follows it.
 *
 * A segment's checkpoint is durable before anything else is appended to it and before any older
 * segment may go. So: a newest segment without a valid first record was never used, provided that
 * its predecessor is still there; then the predecessor's end is the truth. Without a predecessor
 * it is damage, except for segment 1, which then holds nothing that was ever synced.
 */
import { constants } from 'node:fs';
import { stat } from 'node:fs/promises';
import { FerryError, systemCode } from '../../common/errors.js';
import type { FileSystem } from '../../common/fileSystem.js';
import { readFully } from '../../common/readFully.js';
import { type Fact, mayVanish } from './facts.js';
import { type SegmentScan, scanSegment, sealAt } from './record.js';
import { SpoolState } from './state.js';

export interface LoadedSpool {
  state: SpoolState;
  /** Number of the segment that is appended to. */
  segment: number;
  /** Bytes of valid records in it. */
  end: number;
  /** So much longer is the file: a torn tail, which has to be cut off before an append. */
  tornBytes: number;
  /** So many bytes of it are known to be durable. */
  durableEnd: number;
  /**
   * Behind that stands something that its reader will act on. Whoever wrote it may have been
   * killed before its sync, and then only the page cache has it.
   */
  mustSync: boolean;
  /** Inline payload in it, dead or alive. */
  inlineBytes: number;
  /** Every file that counts for the spool, with its size. */
  files: Map<string, number>;
  /** Files that belong to nobody: copies that were never sealed, segments that were never used. */
  strays: string[];
}

const SEGMENT_NAME = /^(\d{10})\.log$/;
const BATCH_NAME = /^(\d{10})\.batch$/;

export function segmentName(segment: number): string {
  return `${String(segment).padStart(10, '0')}.log`;
}

export function batchName(sequence: number): string {
  return `${String(sequence).padStart(10, '0')}.batch`;
}

export function spoolDamaged(dir: string, what: string, context: object = {}): FerryError {
  return new FerryError('SPOOL_DAMAGED', `spool ${dir}: ${what}`, {
    kind: 'storage',
    retry: false,
    hint: 'check the disk; restore the state directory, or move this journal’s spool away and seed its replicas again',
    context: { dir, ...context },
  });
}

export interface LoadOptions {
  fileSystem: FileSystem;
  /** A reader beside a writer: a tail that is not whole yet is no damage. */
  tolerant: boolean;
}

/** Undefined: there is no spool, or one of which nothing was ever synced. */
export async function loadSpool(
  dir: string,
  { fileSystem, tolerant }: LoadOptions,
): Promise<LoadedSpool | undefined> {
  let names: string[];
  try {
    names = await fileSystem.readdir(dir);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const segments = names
    .flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => b - a);
  const strays: string[] = [];
  for (const [index, segment] of segments.entries()) {
    const name = segmentName(segment);
    const content = await readWhole(fileSystem, `${dir}/${name}`);
    const scan = scanSegment(content);
    if (!beginsWithCheckpoint(scan)) {
      const unused = segments[index + 1] === segment - 1 || (segment === 1 && !scan.damaged);
      if (!unused) throw spoolDamaged(dir, `${name} has lost its first record`, { file: name });
      strays.push(name);
      continue;
    }
    if (scan.damaged && !tolerant) {
      const sequence = sealAt(content, scan.validEnd);
      const where = sequence === null ? '' : `, where batch ${sequence} is sealed`;
      throw spoolDamaged(dir, `${name} is unreadable at offset ${scan.validEnd}${where}`, {
        file: name,
        ...(sequence !== null && { sequence }),
      });
    }
    const state = new SpoolState();
    let inlineBytes = 0;
    let mustSync = false;
    for (const record of scan.records) {
      const fact = record.meta as Fact;
      state.apply(fact, { file: name, payloadOffset: record.payloadOffset });
      mustSync ||= record.end > scan.synced && !mayVanish(fact);
      inlineBytes += record.payloadBytes;
    }
    const files = new Map([[name, scan.validEnd]]);
    for (const other of names) await sortFile(dir, other, state, segment, files, strays);
    return {
      state,
      segment,
      end: scan.validEnd,
      tornBytes: content.length - scan.validEnd,
      durableEnd: scan.synced,
      mustSync,
      inlineBytes,
      files,
      strays,
    };
  }
  return undefined;
}

function beginsWithCheckpoint(scan: SegmentScan): boolean {
  const first = scan.records[0]?.meta;
  return typeof first === 'object' && first !== null && 't' in first && first.t === 'checkpoint';
}

async function sortFile(
  dir: string,
  name: string,
  state: SpoolState,
  segment: number,
  files: Map<string, number>,
  strays: string[],
): Promise<void> {
  if (files.has(name) || strays.includes(name)) return;
  const sequence = Number(BATCH_NAME.exec(name)?.[1] ?? 0);
  const older = Number(SEGMENT_NAME.exec(name)?.[1] ?? segment);
  if (sequence === 0 && older >= segment) return;
  const unsealed = sequence > state.last && state.trim?.sequence !== sequence;
  if (sequence > 0 && unsealed) {
    strays.push(name);
    return;
  }
  try {
    files.set(name, (await stat(`${dir}/${name}`)).size);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

async function readWhole(fileSystem: FileSystem, path: string): Promise<Buffer> {
  const handle = await fileSystem.open(path, constants.O_RDONLY);
  try {
    const { size } = await handle.stat();
    const content = Buffer.allocUnsafe(size);
    return content.subarray(0, await readFully(handle, content, size, 0));
  } finally {
    await handle.close();
  }
}
