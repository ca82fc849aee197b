import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openFile } from '../../common/openFile.js';
import { readFully } from '../../common/readFully.js';
import type { BatchJob, PayloadPlace } from '../jobs.js';
import { CHUNK_BYTES, type PayloadSource, type PayloadStore } from './payloadStore.js';
import { payloadMissing } from './redisPayloads.js';

/** Buffers of a reader: one is being sent while the next is filled. */
const READ_BUFFERS = 2;

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
      const size = Math.min(CHUNK_BYTES, job.bytes);
      const buffers = Array.from({ length: READ_BUFFERS }, () => Buffer.allocUnsafe(size));
      const fill = async (at: number, turn: number): Promise<Buffer> => {
        const buffer = buffers[turn % READ_BUFFERS] as Buffer;
        const want = Math.min(size, job.bytes - at);
        const { bytesRead } = await handle.read(buffer, 0, want, offset + at);
        if (bytesRead === 0) throw payloadMissing(job);
        return buffer.subarray(0, bytesRead);
      };
      let coming = fill(0, 0);
      for (let at = 0, turn = 0; at < job.bytes; turn += 1) {
        const chunk = await coming;
        at += chunk.length;
        if (at < job.bytes) {
          coming = fill(at, turn + 1);
          coming.catch(() => undefined); // awaited above; a reader that stops early must not crash us
        }
        yield chunk;
      }
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
