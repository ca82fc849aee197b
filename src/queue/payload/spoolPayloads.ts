import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openFile } from '../../common/openFile.js';
import { readAhead } from '../../common/readAhead.js';
import { readFully } from '../../common/readFully.js';
import type { BatchJob, PayloadPlace } from '../jobs.js';
import { CHUNK_BYTES, type PayloadSource, type PayloadStore } from './payloadStore.js';
import { payloadMissing } from './redisPayloads.js';

/**
 * Payload stays where it was sealed, or archived: in the producer's state directory, which the
 * worker sees (same process, same host, or a shared disk).
 */
export class SpoolPayloads implements PayloadStore {
  readonly #stateDir: string;

  /** @param stateDir the producer's `state:` directory */
  constructor(stateDir: string) {
    this.#stateDir = stateDir;
  }

  put(job: BatchJob, _source: PayloadSource): Promise<PayloadPlace> {
    return Promise.resolve(job.payload);
  }

  async *read(job: BatchJob): AsyncIterable<Uint8Array> {
    const { path, offset } = this.#place(job);
    const handle = await open(path, 'r').catch((error: unknown) => {
      throw payloadMissing(job, error);
    });
    try {
      let left = job.bytes;
      for await (const chunk of readAhead(handle, offset, job.bytes, CHUNK_BYTES)) {
        left -= chunk.length;
        yield chunk;
      }
      if (left > 0) throw payloadMissing(job);
    } finally {
      await handle.close();
    }
  }

  async readWhole(job: BatchJob): Promise<Buffer> {
    const { path, offset } = this.#place(job);
    const file = await openFile(path, 'r').catch((error: unknown) => {
      throw payloadMissing(job, error);
    });
    try {
      const whole = Buffer.allocUnsafe(job.bytes);
      const got = await readFully(file, whole, whole.length, offset);
      if (got < whole.length) throw payloadMissing(job);
      return whole;
    } finally {
      await file.close();
    }
  }

  #place(job: BatchJob): { path: string; offset: number } {
    const { payload } = job;
    if (payload.kind !== 'spool' && payload.kind !== 'archive') throw payloadMissing(job);
    const path = join(placeDir(this.#stateDir, job.journal, payload.kind), payload.file);
    return { path, offset: payload.offset };
  }

  remove(): Promise<void> {
    return Promise.resolve(); // the producer frees its spool when every route has confirmed
  }
}

/** The producer's layout of its state directory, as far as workers read it. */
function placeDir(stateDir: string, journal: string, kind: 'spool' | 'archive'): string {
  return kind === 'spool'
    ? join(stateDir, 'spool', journal)
    : join(stateDir, 'archive', journal, 'delivered');
}
