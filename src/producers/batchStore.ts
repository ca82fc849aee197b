import type { PayloadPlace } from '../queue/jobs.js';
import { deliveredDir } from './archive/archiveFiles.js';
import { ArchiveLines } from './archive/archiveReader.js';
import { type OpenBatch, openSpoolBatch } from './spool/batchReader.js';
import type { Spool } from './spool/spool.js';

/** A batch of a journal, wherever it lies. */
export interface StoredBatch {
  sequence: number;
  bytes: number;
  sha256: string;
  sealedAtMs: number;
  payload: Extract<PayloadPlace, { kind: 'spool' | 'archive' }>;
}

/**
 * The batches of a journal that can be sent: what the spool holds, and what the archive has. What
 * a replay needs leaves neither while it lasts.
 */
export class BatchStore {
  readonly #spool: Spool;
  readonly #dir: string;
  readonly #lines: ArchiveLines;

  constructor(spool: Spool, stateDir: string) {
    this.#spool = spool;
    this.#dir = deliveredDir(stateDir, spool.journal);
    this.#lines = new ArchiveLines(this.#dir);
  }

  /** Undefined: never captured, or gone. */
  async batch(sequence: number): Promise<StoredBatch | undefined> {
    const held = this.#spool.batch(sequence);
    if (held !== undefined) {
      const { bytes, sha256, sealedAtMs, location } = held;
      return { sequence, bytes, sha256, sealedAtMs, payload: { kind: 'spool', ...location } };
    }
    if (sequence < 1 || sequence > this.#spool.lastSequence) return undefined;
    const line = await this.#lines.find(sequence);
    if (line === undefined) return undefined;
    const { bytes, sha256, sealedAtMs, location } = line;
    return { sequence, bytes, sha256, sealedAtMs, payload: { kind: 'archive', ...location } };
  }

  /**
   * @throws FerryError BATCH_GONE, SPOOL_DAMAGED when its file is shorter than it should be
   */
  async open(sequence: number): Promise<OpenBatch> {
    const stored = await this.batch(sequence);
    if (stored?.payload.kind !== 'archive') return this.#spool.openBatch(sequence);
    return openSpoolBatch(this.#dir, stored.payload, stored.bytes);
  }
}
