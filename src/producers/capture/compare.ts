/**
 * Does the journal still hold what a seal says was taken from it?
 *
 * What stood in the journal at a seal is the seal's *image*: usually the batch alone; for a batch
 * that was found behind a leftover, the leftover's image below `journalOffset`, then the batch.
 * The comparison goes through it blockwise and never holds more than two blocks.
 */
import type { FileHandle } from 'node:fs/promises';
import { type OpenBatch, openSpoolBatch } from '../spool/batchReader.js';
import { readFully } from '../spool/handles.js';
import type { SpoolBatch } from '../spool/types.js';

/** Also the granularity in which a hole is told from bytes: file systems punch whole pages. */
const PAGE_BYTES = 4096;
const BLOCK_BYTES = 64 * PAGE_BYTES;

export type Match =
  /** The journal's first `length` bytes are the image. */
  | { kind: 'leftover'; length: number }
  /** All that the journal holds is a part of the image, the rest missing or zero. */
  | { kind: 'prefix' }
  | { kind: 'different' };

export interface ImageSource {
  dir: string;
  batch(sequence: number): SpoolBatch | undefined;
}

interface Piece {
  batch: SpoolBatch;
  /** In the journal. */
  start: number;
  end: number;
}

/**
 * Compares the journal's content with the image of `batch`. With `powerCut`, a prefix of the
 * image counts too.
 */
export async function compareWithImage(
  journal: FileHandle,
  batch: SpoolBatch,
  source: ImageSource,
  { powerCut }: { powerCut: boolean },
): Promise<Match> {
  const { size } = await journal.stat();
  const length = batch.journalOffset + batch.bytes;
  if (size === 0 || (size < length && !powerCut)) return { kind: 'different' };
  const pieces = imageOf(batch, source);
  if (pieces === undefined) return { kind: 'different' };
  const here = Buffer.allocUnsafe(BLOCK_BYTES);
  const sealed = Buffer.allocUnsafe(BLOCK_BYTES);
  // Once a zero tail has begun, nothing but zeros may follow.
  let zeroTail = false;
  for (const piece of pieces) {
    if (piece.start >= size) break;
    const file = await openSpoolBatch(source.dir, piece.batch.location, piece.batch.bytes);
    try {
      const answer = await comparePiece(journal, size, piece, file, here, sealed, {
        powerCut,
        zeroTail,
      });
      if (answer === 'different') return { kind: 'different' };
      zeroTail = answer === 'zeroTail';
    } finally {
      await file.close();
    }
  }
  if (size < length) return { kind: 'prefix' };
  if (!zeroTail) return { kind: 'leftover', length };
  // Behind a zero tail there is nothing: a longer journal was written after the cut.
  return size === length ? { kind: 'prefix' } : { kind: 'different' };
}

async function comparePiece(
  journal: FileHandle,
  size: number,
  piece: Piece,
  file: OpenBatch,
  here: Buffer,
  sealed: Buffer,
  state: { powerCut: boolean; zeroTail: boolean },
): Promise<'equal' | 'zeroTail' | 'different'> {
  let { zeroTail } = state;
  const end = Math.min(piece.end, size);
  // A hole is told from bytes page by page, counted from the start of the journal.
  const holeEnd = piece.batch.trimmedBytes;
  for (let at = piece.start; at < end; ) {
    const inBatch = at - piece.batch.journalOffset;
    let length = Math.min(BLOCK_BYTES, end - at);
    if (at < holeEnd) length = Math.min(PAGE_BYTES, holeEnd - at, end - at);
    const got = await readFully(journal, here, length, at);
    await readFully(file.handle, sealed, length, file.offset + inBatch);
    if (got < length) return 'different';
    const now = here.subarray(0, length);
    const then = sealed.subarray(0, length);
    at += length;
    if (!zeroTail && now.equals(then)) continue;
    if (isZero(now, 0)) {
      if (at > holeEnd) {
        if (!state.powerCut) return 'different';
        zeroTail ||= !now.equals(then);
      }
      continue;
    }
    if (zeroTail || !state.powerCut || at <= holeEnd) return 'different';
    let same = 0;
    while (now[same] === then[same]) same += 1;
    if (!isZero(now, same)) return 'different';
    zeroTail = true;
  }
  return zeroTail ? 'zeroTail' : 'equal';
}

/** Pieces in the order of the journal; undefined when a piece is no longer held. */
function imageOf(batch: SpoolBatch, source: ImageSource): Piece[] | undefined {
  const pieces: Piece[] = [];
  let end = batch.journalOffset + batch.bytes;
  for (let next: SpoolBatch | undefined = batch; ; ) {
    pieces.unshift({ batch: next, start: next.journalOffset, end });
    if (next.journalOffset === 0) return pieces;
    end = next.journalOffset;
    next = source.batch(next.follows);
    if (next === undefined) return undefined;
  }
}

/**
 * Below a trim mark a journal may hold, page by page, a hole or the very bytes of the copy, and
 * nothing else. True when that is so for [0, bytes).
 */
export async function holeOrCopy(
  journal: FileHandle,
  copy: FileHandle,
  bytes: number,
): Promise<boolean> {
  const here = Buffer.allocUnsafe(BLOCK_BYTES);
  const there = Buffer.allocUnsafe(BLOCK_BYTES);
  for (let at = 0; at < bytes; at += BLOCK_BYTES) {
    const length = Math.min(BLOCK_BYTES, bytes - at);
    if ((await readFully(journal, here, length, at)) < length) return false;
    if ((await readFully(copy, there, length, at)) < length) return false;
    for (let page = 0; page < length; page += PAGE_BYTES) {
      const end = Math.min(page + PAGE_BYTES, length);
      const now = here.subarray(page, end);
      if (!isZero(now, 0) && !now.equals(there.subarray(page, end))) return false;
    }
  }
  return true;
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);

function isZero(bytes: Buffer, from: number): boolean {
  return bytes.subarray(from).equals(ZEROS.subarray(0, bytes.length - from));
}
