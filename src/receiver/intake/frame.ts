import { crc32 } from 'node:zlib';

/**
 * A frame of an intake segment: what became durable together. Numbers are little endian.
 *
 *      0  u32       magic `JFI1`
 *      4  u32       CRC-32 of everything behind it
 *      8  u32       length of meta
 *     12  u32       length of payload
 *     16  16 bytes  mark: random, of the segment
 *     32            meta: JSON, readable with `strings`
 *                   payload
 *
 * The mark tells our frames from bytes that a client has made look like one: it is known to nobody.
 */
const MAGIC = Buffer.from('JFI1');
const HEAD_BYTES = 32;
const CHECKED_FROM = 8;
const MARK_AT = 16;
/** Of the mark, random bytes. */
export const MARK_BYTES = HEAD_BYTES - MARK_AT;

/** @param meta JSON */
export function encodeFrame(mark: Buffer, meta: string, payload: readonly Buffer[] = []): Buffer {
  const metaBytes = Buffer.byteLength(meta);
  const payloadBytes = payload.reduce((sum, { length }) => sum + length, 0);
  const frame = Buffer.allocUnsafe(HEAD_BYTES + metaBytes + payloadBytes);
  MAGIC.copy(frame);
  frame.writeUInt32LE(metaBytes, 8);
  frame.writeUInt32LE(payloadBytes, 12);
  mark.copy(frame, MARK_AT);
  frame.write(meta, HEAD_BYTES);
  let at = HEAD_BYTES + metaBytes;
  for (const part of payload) at += part.copy(frame, at);
  frame.writeUInt32LE(crc32(frame.subarray(CHECKED_FROM)), 4);
  return frame;
}

export interface Frame {
  /** As parsed. */
  meta: unknown;
  /** A part of the segment. */
  payload: Buffer;
  /** Offset behind it. */
  end: number;
}

export interface FramesRead {
  /** Whole ones, from the beginning of the segment, without a gap. */
  frames: Frame[];
  /**
   * A whole one stands behind what is none. Each was durable before the next was begun, so that is
   * damage, and no torn tail.
   */
  damaged: boolean;
}

/** What stands in a segment. */
export function readFrames(segment: Buffer): FramesRead {
  const mark = segment.subarray(MARK_AT, HEAD_BYTES);
  const frames: Frame[] = [];
  let at = 0;
  for (;;) {
    const frame = frameAt(segment, at, mark);
    if (frame === null) return { frames, damaged: goesOn(segment, at, mark) };
    frames.push(frame);
    at = frame.end;
  }
}

function frameAt(segment: Buffer, at: number, mark: Buffer): Frame | null {
  if (at < 0 || at + HEAD_BYTES > segment.length) return null;
  if (segment.compare(MAGIC, 0, MAGIC.length, at, at + MAGIC.length) !== 0) return null;
  if (segment.compare(mark, 0, mark.length, at + MARK_AT, at + HEAD_BYTES) !== 0) return null;
  const payloadAt = at + HEAD_BYTES + segment.readUInt32LE(at + 8);
  const end = payloadAt + segment.readUInt32LE(at + 12);
  if (end > segment.length) return null;
  if (crc32(segment.subarray(at + CHECKED_FROM, end)) !== segment.readUInt32LE(at + 4)) return null;
  const meta: unknown = JSON.parse(segment.toString('utf8', at + HEAD_BYTES, payloadAt));
  return { meta, payload: segment.subarray(payloadAt, end), end };
}

function goesOn(segment: Buffer, from: number, mark: Buffer): boolean {
  // A first page that was never written is zeros, as anything may be.
  if (mark.length < MARK_BYTES || mark.every((byte) => byte === 0)) return false;
  for (let at = segment.indexOf(mark, from); at >= 0; at = segment.indexOf(mark, at + 1)) {
    if (frameAt(segment, at - MARK_AT, mark) !== null) return true;
  }
  return false;
}
