/**
 * What lies in a journal's archive, and how it is read: by its producer, by workers, by commands.
 *
 *     state/archive/<journal>/delivered/
 *       0000000001.index    a header, then a JSON line for each batch
 *       0000000001.pack     the small ones, one behind the other
 *       0000000007.batch    a large one: the file that it had in the spool
 *
 * A *segment* is an index with what its lines name. Its batches are dense: a hole in the archive
 * lies between two segments. It is called after its first batch, and is pruned as a whole.
 */
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../common/errors.js';
import { readFully } from '../../common/readFully.js';
import { batchName } from '../spool/load.js';
import type { BatchLocation } from '../spool/types.js';

/** Batches per segment at most: what is read at once to find one of them. */
export const SEGMENT_LINES = 1_024;
/** What a line takes on the disk, roughly: `archive.maxBytes` counts it. */
export const LINE_BYTES = 400;
/** More than a header has. */
const HEADER_BYTES_MAX = 256;

/** What the archive knows of a batch. */
export interface ArchivedBatch {
  readonly sequence: number;
  /** That of the spool when it was archived. */
  readonly stream: string;
  readonly bytes: number;
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  /** Chain of digests up to this batch; see `common/chain.ts`. '' when it is not known. */
  readonly chain: string;
  readonly sealedAtMs: number;
  readonly archivedAtMs: number;
  /** In the directory of the archive. */
  readonly location: BatchLocation;
  /** Payload that was ever archived, this batch included: the difference of two is what they span. */
  readonly total: number;
}

/** First line of an index. */
export interface SegmentHeader {
  readonly v: 1;
  /** Payload and batches that were archived before this segment. */
  readonly before: number;
  readonly count: number;
  readonly openedAtMs: number;
}

export interface SegmentStart {
  readonly first: number;
  readonly header: SegmentHeader;
}

export interface SegmentScan extends SegmentStart {
  readonly lines: readonly ArchivedBatch[];
  /** Offsets behind each whole line, the header's first. What follows the last was torn. */
  readonly ends: readonly number[];
  readonly torn: boolean;
}

/** Where the journals' batches are kept that no longer wait, those that were given up too. */
export function archiveDir(stateDir: string, journal: string): string {
  return join(stateDir, 'archive', journal);
}

/** The delivered ones of them. */
export function deliveredDir(stateDir: string, journal: string): string {
  return join(archiveDir(stateDir, journal), 'delivered');
}

const INDEX_NAME = /^(\d{10})\.index$/;

export function indexName(first: number): string {
  return `${String(first).padStart(10, '0')}.index`;
}

export function packName(first: number): string {
  return `${String(first).padStart(10, '0')}.pack`;
}

/** First sequences of the segments, ascending; none where there is no archive. */
export async function segmentsIn(dir: string): Promise<number[]> {
  const names = await readdir(dir).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const found = names.flatMap((name) => INDEX_NAME.exec(name)?.[1] ?? []);
  return found.map(Number).sort((a, b) => a - b);
}

/** Null: it has been pruned, or is not whole. */
export async function readHeader(dir: string, first: number): Promise<SegmentStart | null> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(join(dir, indexName(first)), 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    const start = Buffer.alloc(HEADER_BYTES_MAX);
    const bytes = await readFully(handle, start, start.length, 0);
    const [line = ''] = start.toString('utf8', 0, bytes).split('\n', 1);
    const header = JSON.parse(line) as SegmentHeader;
    return { first, header };
  } catch {
    return null;
  } finally {
    await handle.close();
  }
}

/** Null: it has been pruned, or not even its header was written. */
export async function readSegment(dir: string, first: number): Promise<SegmentScan | null> {
  let content: Buffer;
  try {
    content = await readFile(join(dir, indexName(first)));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
  let header: SegmentHeader | null = null;
  const lines: ArchivedBatch[] = [];
  const ends: number[] = [];
  for (let from = 0, to = content.indexOf('\n'); to >= 0; to = content.indexOf('\n', from)) {
    const parsed = parse(content.toString('utf8', from, to));
    if (parsed === null) break;
    if (header === null) {
      if (!('v' in parsed)) break;
      header = parsed;
    } else {
      if ('v' in parsed || parsed.sequence !== first + lines.length) break;
      lines.push(parsed);
    }
    from = to + 1;
    ends.push(from);
  }
  if (header === null) return null;
  return { first, header, lines, ends, torn: (ends.at(-1) ?? 0) < content.length };
}

/** Short keys on the disk: there are many of them. */
interface Line {
  n: number;
  bytes: number;
  sha256: string;
  chain: string;
  stream: string;
  sealed: number;
  archived: number;
  total: number;
  /** Offset in the segment's pack; absent: a file of its own. */
  at?: number;
  /** The pack. */
  in?: string;
}

export function formatHeader(header: SegmentHeader): string {
  return `${JSON.stringify(header)}\n`;
}

export function formatLine(batch: ArchivedBatch): string {
  const { file, offset } = batch.location;
  const line: Line = {
    n: batch.sequence,
    bytes: batch.bytes,
    sha256: batch.sha256,
    chain: batch.chain,
    stream: batch.stream,
    sealed: batch.sealedAtMs,
    archived: batch.archivedAtMs,
    total: batch.total,
    ...(file === batchName(batch.sequence) ? {} : { in: file, at: offset }),
  };
  return `${JSON.stringify(line)}\n`;
}

/** Null: torn, or lost in a power cut. */
function parse(text: string): SegmentHeader | ArchivedBatch | null {
  try {
    const raw = JSON.parse(text) as SegmentHeader | Line;
    if ('v' in raw) return raw;
    if (typeof raw.n !== 'number') return null;
    return {
      sequence: raw.n,
      stream: raw.stream,
      bytes: raw.bytes,
      sha256: raw.sha256,
      chain: raw.chain,
      sealedAtMs: raw.sealed,
      archivedAtMs: raw.archived,
      location: { file: raw.in ?? batchName(raw.n), offset: raw.at ?? 0 },
      total: raw.total,
    };
  } catch {
    return null;
  }
}
