import { access, mkdir, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { crashPoint } from '../../common/crashPoints.js';
import { systemCode } from '../../common/errors.js';
import { Semaphore } from '../../common/semaphore.js';
import { batchName } from '../spool/load.js';
import type { Spool } from '../spool/spool.js';
import type { SpoolBatch } from '../spool/types.js';
import {
  type ArchivedBatch,
  findArchived,
  IndexWriter,
  indexFiles,
  readIndexFile,
} from './archiveIndex.js';
import { archiveDir, placeBatch } from './keptBatch.js';

/** Batches that go into the archive between two looks at everything else. */
const GROUP = 256;
/** A pruning by age alone need not be more punctual. */
const PRUNE_EVERY_MS = 60_000;
/** Journals at it at once in this process: it is housekeeping, and captures share the threads. */
const passes = new Semaphore(2);

export interface ArchiveParts {
  spool: Spool;
  stateDir: string;
  keepMs: number;
  maxBytes: number;
  log: Logger;
}

/**
 * Delivered batches of one journal, kept for replay until they are too old or too many.
 *
 *     held, done with --index line--> --file: second name, or copy--> --spool notes it--> freed
 *
 * All of it in the background, in groups. A kill repeats the group. Nothing is synced: a power cut
 * may take the newest ones, never anything that is still to be delivered. Where the archive cannot
 * be written, batches are freed without it, and that is said: it must not fill the spool.
 */
export class Archive {
  readonly dir: string;
  readonly #p: ArchiveParts;
  #index: IndexWriter | null = null;
  /** Lines of the oldest file of the index that are not pruned yet, and its name. */
  #oldest: { file: string; lines: ArchivedBatch[] } | null = null;
  #prunedThrough = 0;
  #pruneDue = 0;
  #running: Promise<void> | null = null;
  #again = false;
  #stopped = false;
  #saidProblem = '';

  constructor(parts: ArchiveParts) {
    this.#p = parts;
    this.dir = archiveDir(parts.stateDir, parts.spool.journal);
  }

  /** Something may have been confirmed, or have become too old. */
  look(): void {
    this.#again = true;
    if (this.#stopped) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      const due = performance.now() >= this.#pruneDue;
      if (!due && this.#p.spool.unarchived(1).length === 0) continue;
      await passes.run(() => this.#pass());
    }
  }

  async #pass(): Promise<void> {
    const { spool } = this.#p;
    const group = spool.unarchived(GROUP);
    const last = group.at(-1);
    try {
      if (last !== undefined) await this.#keep(group);
      await this.#prune();
      if (last !== undefined) this.#saidProblem = '';
    } catch (error) {
      this.#say(error);
    }
    this.#pruneDue = performance.now() + PRUNE_EVERY_MS;
    if (last === undefined) return;
    // A spool that cannot be written says so at the next capture.
    const noted = await spool.recordArchived(last.sequence).then(
      () => true,
      () => false,
    );
    if (!noted) return;
    crashPoint('archive.recorded');
    this.#again = true;
  }

  async #keep(group: readonly SpoolBatch[]): Promise<void> {
    const { spool } = this.#p;
    const index = await this.#ready(group[0]);
    let total = index.last?.total ?? 0;
    const lines: ArchivedBatch[] = [];
    for (const batch of group) {
      if (batch.sequence <= (index.last?.sequence ?? 0)) continue; // repeated after a kill
      const kept = await exists(join(this.dir, batchName(batch.sequence)));
      if (!kept) total += batch.bytes;
      lines.push({
        sequence: batch.sequence,
        stream: spool.stream,
        bytes: batch.bytes,
        sha256: batch.sha256,
        chain: batch.chain ?? '',
        sealedAtMs: batch.sealedAtMs,
        archivedAtMs: Date.now(),
        ...{ total, kept },
      });
    }
    await index.append(lines);
    crashPoint('archive.indexed');
    for (const batch of group) {
      await placeBatch(spool, join(this.dir, batchName(batch.sequence)), batch, { sync: false });
    }
    crashPoint('archive.kept');
  }

  /** The index, when it is this spool's: an older spool's archive is moved aside first. */
  async #ready(first: SpoolBatch | undefined): Promise<IndexWriter> {
    await mkdir(this.dir, { recursive: true, mode: 0o700 });
    this.#index ??= await IndexWriter.open(this.dir);
    const { last } = this.#index;
    if (first === undefined || last === undefined || last.sequence < first.sequence) {
      return this.#index;
    }
    const line = await findArchived(this.dir, first.sequence);
    const same = line === null || line.sha256 === first.sha256;
    if (same && last.sequence <= this.#p.spool.lastSequence) return this.#index;
    const former = join(this.dir, `former-${new Date().toISOString().replaceAll(':', '')}`);
    await mkdir(former, { mode: 0o700 });
    for (const name of await readdir(this.dir)) {
      if (!/\.(batch|log)$/.test(name)) continue;
      await rename(join(this.dir, name), join(former, name));
    }
    this.#p.log.warn(
      { journal: this.#p.spool.journal, former },
      'the archive is that of another spool of this name; it is moved aside and no longer pruned',
    );
    this.#oldest = null;
    this.#prunedThrough = 0;
    this.#index = await IndexWriter.open(this.dir);
    return this.#index;
  }

  /** Removes the oldest ones while they are too old or all together too large. */
  async #prune(): Promise<void> {
    const { keepMs, maxBytes } = this.#p;
    this.#index ??= await IndexWriter.open(this.dir);
    const { last } = this.#index;
    if (last === undefined) return;
    const before = Date.now() - keepMs;
    for (;;) {
      const oldest = await this.#oldestLines();
      const line = oldest?.lines[0];
      if (oldest === null || line === undefined) return;
      const keptBytes = last.total - line.total + (line.kept ? 0 : line.bytes);
      if (line.archivedAtMs >= before && keptBytes <= maxBytes) return;
      if (!line.kept) await removed(join(this.dir, batchName(line.sequence)));
      crashPoint('archive.pruned');
      oldest.lines.shift();
      this.#prunedThrough = line.sequence;
      if (this.#stopped) return;
    }
  }

  /** What is left of the oldest file of the index; one that is done with is removed. */
  async #oldestLines(): Promise<{ file: string; lines: ArchivedBatch[] } | null> {
    for (;;) {
      const current = this.#index?.current ?? null;
      if (this.#oldest === null) {
        const [file] = await indexFiles(this.dir);
        if (file === undefined) return null;
        const { lines } = await readIndexFile(join(this.dir, file));
        // Those that were pruned before: they went in this order.
        while (lines[0] !== undefined && !(await this.#isThere(lines[0]))) {
          this.#prunedThrough = lines[0].sequence;
          lines.shift();
        }
        this.#oldest = { file, lines };
      }
      const { file, lines } = this.#oldest;
      if (lines.length > 0) return this.#oldest;
      this.#oldest = null;
      // The one that is written to may have grown since it was read; its last line stays, for the
      // total, as does its file.
      if (file !== current) await removed(join(this.dir, file));
      else if (this.#prunedThrough === this.#index?.last?.sequence) return null;
    }
  }

  async #isThere({ sequence, kept }: ArchivedBatch): Promise<boolean> {
    if (sequence <= this.#prunedThrough) return false;
    return kept || (await exists(join(this.dir, batchName(sequence))));
  }

  #say(error: unknown): void {
    const code = systemCode(error) ?? String(error);
    if (code === this.#saidProblem) return;
    this.#saidProblem = code;
    this.#p.log.error(
      { journal: this.#p.spool.journal, err: error },
      'delivered batches are not kept in the archive',
    );
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

async function removed(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}
