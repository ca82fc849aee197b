/**
 * Does the journal still hold what a seal says was taken from it?
 *
 * What stood in the journal at a seal is the seal's *image*: usually the batch alone; for a batch
 * that was found behind a leftover, the leftover's image below `journalOffset`, then the batch.
 * The comparison goes through it blockwise and never holds more than two blocks.
 */
import type { OpenFile } from '../../common/openFile.js';
import { readFully } from '../../common/readFully.js';
import { type OpenBatch, openSpoolBatch } from '../spool/batchReader.js';
import type { SpoolBatch } from '../spool/types.js';

/** Also the granularity in which a hole is told from bytes: file systems punch whole pages. */
const PAGE_BYTES = 4096;
const BLOCK_BYTES = 64 * PAGE_BYTES;

export type Match =
  /** The journal's first `length` bytes are the image, or what a power cut left of it. */
  | { kind: 'leftover'; length: number }
  /** All that the journal holds is what a power cut left of the image. */
  | { kind: 'part' }
  | { kind: 'different' };

export interface ImageSource {
  dir: string;
  /** The present boot: what was sealed in another one may have been through a power cut. */
  bootId: string;
  batch(sequence: number): SpoolBatch | undefined;
}

interface Piece {
  batch: SpoolBatch;
  /** In the journal. */
  start: number;
  end: number;
}

/**
 * Compares the journal's content with the image of `batch`.
 *
 * A power cut leaves of bytes that were never synced what the file system had written back: page
 * by page, in any order, and each page as it was at some moment, so a front part of it and zeros.
 * A piece that was sealed in another boot may look like that, page for page. Where new bytes stand
 * behind the image, something of it must be there, though: zeros alone could be theirs.
 */
export async function compareWithImage(
  journal: OpenFile,
  batch: SpoolBatch,
  source: ImageSource,
): Promise<Match> {
  const { size } = await journal.stat();
  const length = batch.journalOffset + batch.bytes;
  const mayBeShort = batch.bootId !== source.bootId;
  if (size === 0 || (size < length && !mayBeShort)) return { kind: 'different' };
  const pieces = imageOf(batch, source);
  if (pieces === undefined) return { kind: 'different' };
  const found: Found = { torn: false, something: false };
  const buffers = {
    here: Buffer.allocUnsafe(BLOCK_BYTES),
    sealed: Buffer.allocUnsafe(BLOCK_BYTES),
  };
  for (const piece of pieces) {
    if (piece.start >= size) break;
    const mayBeTorn = piece.batch.bootId !== source.bootId;
    const file = await openSpoolBatch(source.dir, piece.batch.location, piece.batch.bytes);
    try {
      const end = Math.min(piece.end, size);
      if (!(await samePiece(journal, { ...piece, end }, file, mayBeTorn, found, buffers))) {
        return { kind: 'different' };
      }
    } finally {
      await file.close();
    }
  }
  if (size < length || (size === length && found.torn)) return { kind: 'part' };
  if (found.torn && !found.something) return { kind: 'different' };
  return { kind: 'leftover', length };
}

interface Found {
  /** A page lacks bytes of the image. */
  torn: boolean;
  /** A page has bytes of the image that are not zeros. */
  something: boolean;
}

/** Whether the journal holds the piece, or what is left of it; adds to `found`. */
async function samePiece(
  journal: OpenFile,
  { batch, start, end }: Piece,
  file: OpenBatch,
  mayBeTorn: boolean,
  found: Found,
  { here, sealed }: { here: Buffer; sealed: Buffer },
): Promise<boolean> {
  for (let at = start; at < end; ) {
    // Blocks, and so pages, are those of the journal.
    const length = Math.min(BLOCK_BYTES - (at % BLOCK_BYTES), end - at);
    if ((await readFully(journal, here, length, at)) < length) return false;
    await readFully(file.handle, sealed, length, file.offset + at - batch.journalOffset);
    for (let from = 0; from < length; ) {
      const to = Math.min(from + PAGE_BYTES - ((at + from) % PAGE_BYTES), length);
      const now = here.subarray(from, to);
      const then = sealed.subarray(from, to);
      const isHole = at + from < batch.trimmedBytes && isZero(now, 0);
      if (!isHole && !samePage(now, then, mayBeTorn, found)) return false;
      from = to;
    }
    at += length;
  }
  return true;
}

function samePage(now: Buffer, then: Buffer, mayBeTorn: boolean, found: Found): boolean {
  let same = now.length;
  if (!now.equals(then)) {
    if (!mayBeTorn) return false;
    for (same = 0; now[same] === then[same]; ) same += 1;
    if (!isZero(now, same)) return false;
    found.torn = true;
  }
  found.something ||= !isZero(now.subarray(0, same), 0);
  return true;
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
  journal: OpenFile,
  copy: OpenFile,
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
