/**
 * Framing of the spool's log. A record is a fixed header, its meta (JSON, so that a log can be
 * read with `strings`), and raw payload (only a small batch's seal has any):
 *
 *     0  u32  magic "JFR1"
 *     4  u32  CRC-32 over bytes 8..31 of the header, meta and payload
 *     8  u32  length of meta
 *    12  u32  zero
 *    16  u64  length of payload
 *    24  u64  `synced`: the first so many bytes of this segment were durable when this was written
 *
 * All little endian. Seal logs have the same frames under a magic of their own, since what they frame
 * are records. `synced` tells a torn tail (power cut: may be dropped) from durable bytes
 * that went bad (must not be dropped).
 */
import { crc32 } from 'node:zlib';

export const RECORD_HEADER_BYTES = 32;
const MAGIC = Buffer.from('JFR1', 'latin1');
/** Of the frames of a seal log (`sealCopies.ts`). */
export const COPY_MAGIC = Buffer.from('JFS1', 'latin1');
/** A meta longer than this is noise, not a record. A checkpoint of a million batches fits. */
const META_MAX_BYTES = 256 * 1024 * 1024;

export interface RawRecord {
  meta: unknown;
  payloadBytes: number;
  /** Offset of the payload in the segment. */
  payloadOffset: number;
  synced: number;
  /** Offset behind the record. */
  end: number;
}

/** Header and meta of one record; the payload, if any, follows as it is. */
export function encodeRecord(
  meta: unknown,
  payload: Buffer | readonly Buffer[] | null,
  synced: number,
  magic = MAGIC,
): Buffer {
  const parts = payload === null ? [] : Buffer.isBuffer(payload) ? [payload] : payload;
  const text = Buffer.from(JSON.stringify(meta), 'utf8');
  const head = Buffer.allocUnsafe(RECORD_HEADER_BYTES + text.length);
  magic.copy(head, 0);
  head.writeUInt32LE(text.length, 8);
  head.writeUInt32LE(0, 12);
  let payloadBytes = 0;
  for (const part of parts) payloadBytes += part.length;
  head.writeBigUInt64LE(BigInt(payloadBytes), 16);
  head.writeBigUInt64LE(BigInt(synced), 24);
  text.copy(head, RECORD_HEADER_BYTES);
  let sum = crc32(head.subarray(8));
  for (const part of parts) sum = crc32(part, sum);
  head.writeUInt32LE(sum, 4);
  return head;
}

/** The record at `offset`, or undefined when there is no whole, valid one. */
export function decodeRecord(
  segment: Buffer,
  offset: number,
  magic = MAGIC,
): RawRecord | undefined {
  const metaStart = offset + RECORD_HEADER_BYTES;
  if (metaStart > segment.length) return undefined;
  if (segment.compare(magic, 0, 4, offset, offset + 4) !== 0) return undefined;
  const metaBytes = segment.readUInt32LE(offset + 8);
  if (metaBytes > META_MAX_BYTES || segment.readUInt32LE(offset + 12) !== 0) return undefined;
  const payloadBytes = Number(segment.readBigUInt64LE(offset + 16));
  const payloadOffset = metaStart + metaBytes;
  const end = payloadOffset + payloadBytes;
  if (end > segment.length) return undefined;
  if (crc32(segment.subarray(offset + 8, end)) !== segment.readUInt32LE(offset + 4)) {
    return undefined;
  }
  let meta: unknown;
  try {
    meta = JSON.parse(segment.toString('utf8', metaStart, payloadOffset));
  } catch {
    return undefined;
  }
  const synced = Number(segment.readBigUInt64LE(offset + 24));
  return { meta, payloadBytes, payloadOffset, synced, end };
}

export interface SegmentScan {
  records: RawRecord[];
  /** Everything below is valid records. Equal to the segment's length when nothing is torn. */
  validEnd: number;
  /** The highest `synced` of any valid record: so much is certainly durable. */
  synced: number;
  /** A valid record behind `validEnd` says that the bytes there were durable once. */
  damaged: boolean;
}

/** Which batch's seal stands at `offset`, as far as damaged bytes can still tell; null: none. */
export function sealAt(segment: Buffer, offset: number): number | null {
  const metaStart = offset + RECORD_HEADER_BYTES;
  if (metaStart > segment.length) return null;
  try {
    const end = metaStart + segment.readUInt32LE(offset + 8);
    const meta = JSON.parse(segment.toString('utf8', metaStart, end)) as {
      t?: string;
      seq?: number;
    };
    return meta.t === 'seal' && typeof meta.seq === 'number' ? meta.seq : null;
  } catch {
    return null;
  }
}

/** Reads all records of a segment and judges its tail. */
export function scanSegment(segment: Buffer, magic = MAGIC): SegmentScan {
  const records: RawRecord[] = [];
  let offset = 0;
  let synced = 0;
  while (offset < segment.length) {
    const record = decodeRecord(segment, offset, magic);
    if (record === undefined) break;
    records.push(record);
    synced = Math.max(synced, record.synced);
    offset = record.end;
  }
  let damaged = synced > offset;
  for (let at = offset; !damaged && at < segment.length; ) {
    const next = segment.indexOf(magic, at + 1);
    if (next < 0) break;
    const later = decodeRecord(segment, next, magic);
    // A payload may hold a copy of a whole spool record. It is judged like a record here, and
    // the worst that comes of it is a refusal that an operator can look at.
    damaged = later !== undefined && later.synced > offset;
    at = later?.end ?? next;
  }
  return { records, validEnd: offset, synced, damaged };
}
