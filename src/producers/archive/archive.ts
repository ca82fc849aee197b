import { constants } from 'node:fs';
import { mkdir, open, rename, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { crashPoint } from '../../common/crashPoints.js';
import { FerryError, systemCode } from '../../common/errors.js';
import { readFully } from '../../common/readFully.js';
import { Semaphore } from '../../common/semaphore.js';
import { DISK_FLOOR_BYTES } from '../capture/room.js';
import { batchName } from '../spool/load.js';
import type { Spool } from '../spool/spool.js';
import type { SpoolBatch } from '../spool/types.js';
import {
  archiveDir,
  deliveredDir,
  LINE_BYTES,
  readHeader,
  readSegment,
  segmentsIn,
} from './archiveFiles.js';
import { putBatch } from './keptBatch.js';
import { type NewBatch, removeSegment, SegmentWriter } from './segmentWriter.js';

/** Confirmed batches gather for so long: one that comes alone costs as much as many together. */
const GATHER_MS = 200;
/** Batches that go into the archive together, and payload of them in memory at once. */
const GROUP = 256;
const GROUP_BYTES = 4 * 1024 * 1024;
/** A segment takes this share of both limits at most, since it is pruned as a whole. */
const SEGMENT_SHARE = 8;
const SEGMENT_BYTES_MAX = 64 * 1024 * 1024;
/**
 * Free space that the archive leaves on the disk. More than captures leave to others: they must
 * never come to stand still because of it.
 */
const ARCHIVE_FLOOR_BYTES = 4 * DISK_FLOOR_BYTES;
/** Journals at it at once in this process: it is housekeeping, and captures share the threads. */
const passes = new Semaphore(2);

export interface ArchiveParts {
  spool: Spool;
  stateDir: string;
  keepMs: number;
  maxBytes: number;
  log: Logger;
}

/** How much of a journal is archived. */
export interface ArchiveGauge {
  batches: number;
  /** Payload. */
  bytes: number;
}

/**
 * Delivered batches of one journal, kept for replay until they are too old or too many.
 *
 *     confirmed by every route --gather--> --bytes, lines--> --spool notes it--> the spool may free it
 *
 * All of it in the background, in groups, told by the spool and not by the journal's turns: an idle
 * journal has none. A kill repeats the group. Where the archive cannot be written, or the disk is
 * nearly full, batches are freed without it, and that is said: it holds up nothing.
 */
export class Archive {
  readonly dir: string;
  readonly #p: ArchiveParts;
  #writer: SegmentWriter | null = null;
  /** First sequences of the segments, ascending; null: not looked at yet. */
  #segments: number[] | null = null;
  /** What was ever archived before the oldest segment. */
  #before = { bytes: 0, batches: 0 };
  /** Wall clock: the oldest segment was added to until then; null: it still is. */
  #oldestEndedMs: number | null = null;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #again = false;
  #stopped = false;
  /** First sequences that somebody is reading from. */
  readonly #holds = new Set<{ from: number }>();
  #saidProblem = '';

  constructor(parts: ArchiveParts) {
    this.#p = parts;
    this.dir = deliveredDir(parts.stateDir, parts.spool.journal);
    parts.spool.onProgress(() => this.#progressed());
  }

  /** From memory; null: not looked at yet. */
  get gauge(): ArchiveGauge | null {
    if (this.#segments === null) return null;
    const { bytes, batches } = this.#before;
    return {
      bytes: Math.max(0, (this.#writer?.total ?? 0) - bytes),
      batches: Math.max(0, (this.#writer?.count ?? 0) - batches),
    };
  }

  /** To be called now and then: something may have become too old. Costs nothing else. */
  look(): void {
    if (this.#segments === null || this.#isTooOld()) this.#start();
  }

  /** Nothing from `from` on is pruned, until the returned function is called. */
  hold(from: number): () => void {
    const hold = { from };
    this.#holds.add(hold);
    return () => this.#holds.delete(hold);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#running;
    await this.#writer?.close().catch(() => undefined);
  }

  #progressed(): void {
    if (this.#stopped || this.#timer !== null || this.#running !== null) {
      this.#again = true;
      return;
    }
    if (this.#p.spool.unarchived(1).length === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#start();
    }, GATHER_MS);
  }

  #start(): void {
    if (this.#stopped || this.#running !== null) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
      if (this.#again) this.#progressed();
    });
  }

  async #run(): Promise<void> {
    this.#again = false;
    for (let more = true; more && !this.#stopped; ) more = await passes.run(() => this.#pass());
  }

  /** @returns whether there may be more to do at once */
  async #pass(): Promise<boolean> {
    const { spool } = this.#p;
    const group = spool.unarchived(GROUP);
    const last = group.at(-1);
    try {
      await this.#keep(group);
      await this.#prune();
      if (last !== undefined) this.#saidProblem = '';
    } catch (error) {
      this.#say(error);
      // What it has in memory may not be what is on the disk.
      await this.#writer?.close().catch(() => undefined);
      this.#writer = null;
    }
    if (last === undefined) return false;
    try {
      await spool.recordArchived(last.sequence);
    } catch {
      return false; // A spool that cannot be written says so at the next capture.
    }
    crashPoint('archive.recorded');
    return group.length === GROUP;
  }

  async #keep(group: readonly SpoolBatch[]): Promise<void> {
    const [first] = group;
    if (first === undefined) {
      if ((await segmentsIn(this.dir)).length > 0) await this.#ready(undefined);
      else this.#segments ??= [];
      return;
    }
    const { last } = await this.#ready(first);
    const fresh = group.filter(({ sequence }) => sequence > (last?.sequence ?? 0));
    await this.#makeRoom();
    // Making room may have taken the one that was added to.
    const writer = await this.#ready(undefined);
    const files = new SpoolFiles(this.#p.spool);
    try {
      let part: { batch: NewBatch; payload: Buffer | null }[] = [];
      let partBytes = 0;
      for (const batch of fresh) {
        const own = batch.location.file === batchName(batch.sequence);
        if (own) {
          await putBatch(this.#p.spool, join(this.dir, batchName(batch.sequence)), batch, {
            sync: false,
          });
        }
        const payload = own ? null : await files.read(batch);
        part.push({ batch: this.#newBatch(batch), payload });
        partBytes += payload?.length ?? 0;
        if (partBytes < GROUP_BYTES) continue;
        await this.#add(writer, part);
        part = [];
        partBytes = 0;
      }
      await this.#add(writer, part);
    } finally {
      await files.close();
    }
  }

  async #add(
    writer: SegmentWriter,
    part: readonly { batch: NewBatch; payload: Buffer | null }[],
  ): Promise<void> {
    const begun = await writer.add(part);
    if (begun.length === 0) return;
    this.#segments?.push(...begun);
    await this.#lookAtOldest(writer);
  }

  #newBatch({ sequence, bytes, sha256, chain, sealedAtMs }: SpoolBatch): NewBatch {
    const { stream } = this.#p.spool;
    return { sequence, stream, bytes, sha256, chain: chain ?? '', sealedAtMs };
  }

  /** The writer, when the archive is this spool's: an older spool's is moved aside first. */
  async #ready(first: SpoolBatch | undefined): Promise<SegmentWriter> {
    await mkdir(this.dir, { recursive: true, mode: 0o700 });
    this.#writer ??= await this.#open();
    if (first === undefined || (await this.#isOurs(this.#writer, first))) return this.#writer;
    await this.#writer.close();
    const { stateDir, spool, log } = this.#p;
    const time = new Date().toISOString().replaceAll(':', '');
    const former = join(archiveDir(stateDir, spool.journal), `former-${time}`);
    await rename(this.dir, former);
    await mkdir(this.dir, { mode: 0o700 });
    log.warn(
      { journal: spool.journal, former },
      'the archive is that of another spool of this name; it is moved aside and no longer pruned',
    );
    this.#writer = await this.#open();
    return this.#writer;
  }

  async #open(): Promise<SegmentWriter> {
    const { keepMs, maxBytes } = this.#p;
    const writer = await SegmentWriter.open(this.dir, {
      bytes: Math.min(SEGMENT_BYTES_MAX, maxBytes / SEGMENT_SHARE),
      ageMs: keepMs / SEGMENT_SHARE,
    });
    this.#segments = await segmentsIn(this.dir);
    await this.#lookAtOldest(writer);
    return writer;
  }

  /** Numbers of another spool begin anew; after a kill some come again with the same digest. */
  async #isOurs({ last }: SegmentWriter, first: SpoolBatch): Promise<boolean> {
    if (last === null || last.sequence < first.sequence) return true;
    if (last.sequence > this.#p.spool.lastSequence) return false;
    const segment = this.#segments?.findLast((number) => number <= first.sequence);
    const scan = segment === undefined ? null : await readSegment(this.dir, segment);
    const line = scan?.lines[first.sequence - scan.first];
    return line !== undefined && line.sha256 === first.sha256;
  }

  /** Removes the oldest ones while they are too old or all together too large. */
  async #prune(): Promise<void> {
    const { maxBytes } = this.#p;
    for (;;) {
      if (this.#stopped || this.#writer === null || this.#segments?.length === 0) return;
      const { bytes = 0, batches = 0 } = this.gauge ?? {};
      const tooLarge = bytes + batches * LINE_BYTES > maxBytes;
      if (!tooLarge && !this.#isTooOld()) return;
      if (!(await this.#removeOldest())) return;
    }
  }

  /** A replay, or one that is about to begin, needs everything from here on. */
  #neededFrom(): number {
    const held = [...this.#holds].map(({ from }) => from);
    return Math.min(...held, this.#p.spool.replayedFrom ?? Number.POSITIVE_INFINITY);
  }

  /** @returns false: there is nothing that may be removed */
  async #removeOldest(): Promise<boolean> {
    const [oldest, next] = this.#segments ?? [];
    if (oldest === undefined || this.#writer === null) return false;
    const last = next === undefined ? (this.#writer.last?.sequence ?? 0) : next - 1;
    if (last >= this.#neededFrom()) return false;
    const isCurrent = oldest === this.#writer.first;
    if (isCurrent) await this.#writer.close();
    await removeSegment(this.dir, oldest);
    if (isCurrent) {
      this.#writer = await this.#open();
    } else {
      this.#segments?.shift();
      await this.#lookAtOldest(this.#writer);
    }
    return true;
  }

  /** Even what came last into the oldest segment is. */
  #isTooOld(): boolean {
    if (this.#segments === null || this.#segments.length === 0) return false;
    const endedMs = this.#oldestEndedMs ?? this.#writer?.last?.archivedAtMs ?? Date.now();
    return Date.now() > endedMs + this.#p.keepMs;
  }

  /** What came before the oldest segment, and until when that one was added to. */
  async #lookAtOldest(writer: SegmentWriter): Promise<void> {
    const [oldest, next] = this.#segments ?? [];
    const header = oldest === undefined ? null : (await readHeader(this.dir, oldest))?.header;
    this.#before = {
      bytes: header?.before ?? writer.total,
      batches: header?.count ?? writer.count,
    };
    const end = next === undefined ? null : await readHeader(this.dir, next);
    this.#oldestEndedMs = end?.header.openedAtMs ?? null;
  }

  /** @throws FerryError ARCHIVE_NO_SPACE */
  async #makeRoom(): Promise<void> {
    for (;;) {
      const { bavail, bsize } = await statfs(this.dir);
      if (bavail * bsize >= ARCHIVE_FLOOR_BYTES) return;
      if (await this.#removeOldest()) continue;
      throw new FerryError('ARCHIVE_NO_SPACE', `the disk of ${this.dir} is nearly full`, {
        kind: 'storage',
        hint: 'free some space, or lower archive.maxBytes; captures and deliveries go on',
        context: { freeBytes: bavail * bsize },
      });
    }
  }

  #say(error: unknown): void {
    const code = error instanceof FerryError ? error.code : (systemCode(error) ?? String(error));
    if (code === this.#saidProblem) return;
    this.#saidProblem = code;
    this.#p.log.error(
      { journal: this.#p.spool.journal, err: error },
      'delivered batches are not kept in the archive; it holds up nothing else',
    );
  }
}

/** Small batches as they lie in the spool's log, many of them in one file. */
class SpoolFiles {
  readonly #spool: Spool;
  #name = '';
  #handle: Awaited<ReturnType<typeof open>> | null = null;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  async read({ location, bytes, sequence }: SpoolBatch): Promise<Buffer> {
    if (location.file !== this.#name || this.#handle === null) {
      await this.close();
      this.#handle = await open(join(this.#spool.dir, location.file), constants.O_RDONLY);
      this.#name = location.file;
    }
    const payload = Buffer.allocUnsafe(bytes);
    const got = await readFully(this.#handle, payload, bytes, location.offset);
    if (got === bytes) return payload;
    throw new FerryError('SPOOL_DAMAGED', `batch ${sequence} is shorter than its record says`, {
      kind: 'storage',
      retry: false,
      hint: 'check the disk of the state directory',
    });
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }
}
