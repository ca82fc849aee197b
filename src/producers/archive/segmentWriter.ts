import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, stat, truncate, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { crashPoint } from '../../common/crashPoints.js';
import { systemCode } from '../../common/errors.js';
import { nodeFileSystem } from '../../common/fileSystem.js';
import { writeAll } from '../spool/handles.js';
import { batchName } from '../spool/load.js';
import {
  type ArchivedBatch,
  formatHeader,
  formatLine,
  indexName,
  packName,
  readSegment,
  SEGMENT_LINES,
  type SegmentHeader,
  type SegmentScan,
  segmentsIn,
} from './archiveFiles.js';

/** A batch on its way into the archive. */
export type NewBatch = Omit<ArchivedBatch, 'location' | 'total' | 'archivedAtMs'>;

export interface SegmentLimits {
  /** Payload per segment; a larger batch has one of its own. */
  bytes: number;
  /** So long a segment is added to: it is pruned as a whole, when its last batch is too old. */
  ageMs: number;
}

/** What is on its way into the current segment, before it counts. */
interface Group {
  pack: Buffer[];
  lines: ArchivedBatch[];
}

/**
 * The segment that is added to, the newest one.
 *
 *     pack and files written --> lines written: they count from here on
 *
 * What a kill leaves behind the last whole line is cut off, and files that no line names are
 * removed. Nothing is synced but a segment that is finished.
 */
export class SegmentWriter {
  readonly #dir: string;
  readonly #limits: SegmentLimits;
  #first = 0;
  #header: SegmentHeader;
  #lines: number;
  #last: ArchivedBatch | null;
  #packBytes: number;
  #indexBytes: number;
  #index: FileHandle | null = null;
  #pack: FileHandle | null = null;

  private constructor(dir: string, limits: SegmentLimits, scan: SegmentScan | null) {
    this.#dir = dir;
    this.#limits = limits;
    this.#first = scan?.first ?? 0;
    this.#header = scan?.header ?? { v: 1, before: 0, count: 0, openedAtMs: 0 };
    this.#lines = scan?.lines.length ?? 0;
    this.#last = scan?.lines.at(-1) ?? null;
    this.#packBytes = packEnd(scan);
    this.#indexBytes = scan?.ends.at(-1) ?? 0;
  }

  /** @param dir made already */
  static async open(dir: string, limits: SegmentLimits): Promise<SegmentWriter> {
    await removePruned(dir);
    for (const first of (await segmentsIn(dir)).reverse()) {
      const scan = await readSegment(dir, first);
      const whole = scan === null ? null : await withoutLost(dir, scan);
      if (whole === null || whole.lines.length === 0) {
        await unlink(join(dir, indexName(first)));
        continue;
      }
      await truncate(join(dir, indexName(first)), whole.ends.at(-1) ?? 0);
      await removeStrays(dir, whole);
      return new SegmentWriter(dir, limits, whole);
    }
    await removeStrays(dir, null);
    return new SegmentWriter(dir, limits, null);
  }

  /** The batch archived last; null: there is none. */
  get last(): ArchivedBatch | null {
    return this.#last;
  }

  /** First sequence of the segment that is added to; 0: there is none. */
  get first(): number {
    return this.#first;
  }

  /** Payload ever archived. */
  get total(): number {
    return this.#last?.total ?? this.#header.before;
  }

  /** Batches ever archived. */
  get count(): number {
    return this.#header.count + this.#lines;
  }

  /**
   * Adds batches, ascending. One without payload is a file of its own, in its place already.
   *
   * @returns the first sequences of segments that were begun
   */
  async add(batches: readonly { batch: NewBatch; payload: Buffer | null }[]): Promise<number[]> {
    const begun: number[] = [];
    let group: Group = { pack: [], lines: [] };
    for (const { batch, payload } of batches) {
      if (this.#isFull(batch, group)) {
        await this.#write(group);
        group = { pack: [], lines: [] };
        await this.#begin(batch.sequence);
        begun.push(batch.sequence);
      }
      const packed = group.pack.reduce((sum, { length }) => sum + length, this.#packBytes);
      group.lines.push({
        ...batch,
        archivedAtMs: Date.now(),
        location:
          payload === null
            ? { file: batchName(batch.sequence), offset: 0 }
            : { file: packName(this.#first), offset: packed },
        total: (group.lines.at(-1)?.total ?? this.total) + batch.bytes,
      });
      if (payload !== null) group.pack.push(payload);
    }
    await this.#write(group);
    return begun;
  }

  /** Not synced. Safe to call twice. */
  async close(): Promise<void> {
    const open = [this.#index, this.#pack];
    this.#index = null;
    this.#pack = null;
    for (const handle of open) await handle?.close();
  }

  #isFull(next: NewBatch, group: Group): boolean {
    const last = group.lines.at(-1) ?? this.#last;
    if (this.#first === 0 || last === null || next.sequence !== last.sequence + 1) return true;
    const lines = this.#lines + group.lines.length;
    const bytes = last.total - this.#header.before;
    return (
      lines >= SEGMENT_LINES ||
      (lines > 0 && bytes + next.bytes > this.#limits.bytes) ||
      Date.now() - this.#header.openedAtMs > this.#limits.ageMs
    );
  }

  async #write(group: Group): Promise<void> {
    if (group.lines.length === 0) return;
    if (group.pack.length > 0) {
      this.#pack ??= await open(join(this.#dir, packName(this.#first)), WRITE, 0o600);
      const bytes = group.pack.length === 1 ? group.pack[0] : Buffer.concat(group.pack);
      if (bytes !== undefined) {
        await writeAll(this.#pack, bytes, this.#packBytes);
        this.#packBytes += bytes.length;
      }
    }
    crashPoint('archive.kept');
    this.#index ??= await open(join(this.#dir, indexName(this.#first)), WRITE, 0o600);
    const text = Buffer.from(group.lines.map(formatLine).join(''));
    await writeAll(this.#index, text, this.#indexBytes);
    this.#indexBytes += text.length;
    this.#lines += group.lines.length;
    this.#last = group.lines.at(-1) ?? this.#last;
    crashPoint('archive.indexed');
  }

  async #begin(first: number): Promise<void> {
    await this.#finish();
    this.#header = { v: 1, before: this.total, count: this.count, openedAtMs: Date.now() };
    this.#first = first;
    this.#lines = 0;
    this.#packBytes = 0;
    const text = Buffer.from(formatHeader(this.#header));
    this.#index = await open(join(this.#dir, indexName(first)), WRITE | constants.O_TRUNC, 0o600);
    await writeAll(this.#index, text, 0);
    this.#indexBytes = text.length;
  }

  /** A power cut takes nothing from a segment that is finished. */
  async #finish(): Promise<void> {
    for (const handle of [this.#pack, this.#index]) await handle?.datasync();
    if (this.#index !== null) await nodeFileSystem.syncDirectory(this.#dir);
    await this.close();
  }
}

const WRITE = constants.O_WRONLY | constants.O_CREAT;

/**
 * Takes a segment out of the archive: from its first step on it is not there any more.
 *
 * @returns false: it was gone already
 */
export async function removeSegment(dir: string, first: number): Promise<boolean> {
  const gone = join(dir, goneName(first));
  try {
    await rename(join(dir, indexName(first)), gone);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
  crashPoint('archive.pruned');
  await removeFilesOf(dir, first);
  return true;
}

function goneName(first: number): string {
  return `${indexName(first)}.gone`;
}

/** Finishes what a kill has broken off. */
async function removePruned(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    const first = /^(\d{10})\.index\.gone$/.exec(name)?.[1];
    if (first !== undefined) await removeFilesOf(dir, Number(first));
  }
}

/** A segment's own files lie between its number and that of the next one. */
async function removeFilesOf(dir: string, first: number): Promise<void> {
  const next = (await segmentsIn(dir)).find((other) => other > first) ?? Number.MAX_SAFE_INTEGER;
  for (const name of await readdir(dir)) {
    const number = Number(/^(\d{10})\.(?:batch|pack)$/.exec(name)?.[1] ?? 0);
    if (number >= first && number < next) await removed(join(dir, name));
  }
  await removed(join(dir, goneName(first)));
}

/** Files behind the last line: their lines were never written. */
async function removeStrays(dir: string, scan: SegmentScan | null): Promise<void> {
  const last = scan?.lines.at(-1)?.sequence ?? 0;
  for (const name of await readdir(dir)) {
    const number = Number(/^(\d{10})\.(?:batch|pack)(?:\.part)?$/.exec(name)?.[1] ?? 0);
    if (number > last || name.endsWith('.part')) await removed(join(dir, name));
  }
  if (scan === null) return;
  await truncate(join(dir, packName(scan.first)), packEnd(scan)).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}

/** After a power cut lines may be there whose bytes are not: those behind them are useless too. */
async function withoutLost(dir: string, scan: SegmentScan): Promise<SegmentScan> {
  let whole = scan.lines.length;
  const sizes = new Map<string, number>();
  for (const [index, { location, bytes }] of scan.lines.entries()) {
    const known = sizes.get(location.file) ?? (await sizeOf(join(dir, location.file)));
    sizes.set(location.file, known);
    if (known >= location.offset + bytes) continue;
    whole = index;
    break;
  }
  return { ...scan, lines: scan.lines.slice(0, whole), ends: scan.ends.slice(0, whole + 1) };
}

function packEnd(scan: SegmentScan | null): number {
  if (scan === null) return 0;
  const packed = scan.lines.findLast(({ location }) => location.file === packName(scan.first));
  return packed === undefined ? 0 : packed.location.offset + packed.bytes;
}

/** -1: it is not there. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return -1;
    throw error;
  }
}

async function removed(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}
