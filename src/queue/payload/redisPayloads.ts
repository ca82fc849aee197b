import { FerryError } from '../../common/errors.js';
import type { RedisClient } from '../connection.js';
import type { BatchJob, PayloadPlace } from '../jobs.js';
import { batchJobId, type Keys } from '../keys.js';
import { redisTrouble } from '../trouble.js';
import {
  CHUNK_BYTES,
  CHUNKS_IN_FLIGHT,
  type PayloadSource,
  type PayloadStore,
} from './payloadStore.js';

/**
 * Payload as binary chunks in Redis: workers need nothing but Redis. Each route has a copy of its
 * own, freed by `ack` together with the batch, so that a slow route keeps no other's bytes.
 */
export class RedisPayloads implements PayloadStore {
  readonly #client: RedisClient;
  readonly #keys: Keys;

  constructor(client: RedisClient, keys: Keys) {
    this.#client = client;
    this.#keys = keys;
  }

  async put(job: BatchJob, source: PayloadSource): Promise<PayloadPlace> {
    const prefix = this.#prefix(job);
    const count = chunkCount(source.bytes);
    await inOrder(count, async (index) => {
      const from = index * CHUNK_BYTES;
      const chunk = await source.read(from, Math.min(from + CHUNK_BYTES, source.bytes));
      await redis('a chunk was not stored', this.#client.set(prefix + index, chunk));
    });
    return { kind: 'chunks', count, prefix };
  }

  async *read(job: BatchJob): AsyncIterable<Uint8Array> {
    const prefix = this.#prefix(job);
    const count = chunkCount(job.bytes);
    const coming: Promise<Buffer | null>[] = [];
    for (let index = 0; index < count; index += 1) {
      while (coming.length < CHUNKS_IN_FLIGHT && index + coming.length < count) {
        const chunk = this.#client.getBuffer(prefix + (index + coming.length));
        chunk.catch(() => undefined); // read below; a reader that stops early must not crash us
        coming.push(chunk);
      }
      const chunk = await redis('a chunk was not read', coming.shift() ?? Promise.resolve(null));
      const expected = Math.min(CHUNK_BYTES, job.bytes - index * CHUNK_BYTES);
      if (chunk?.length !== expected) throw payloadMissing(job);
      yield chunk;
    }
  }

  async readWhole(job: BatchJob): Promise<Buffer> {
    if (job.bytes > CHUNK_BYTES) throw new RangeError(`${job.bytes} bytes are no small batch`);
    const chunk = await redis(
      'a chunk was not read',
      this.#client.getBuffer(this.#prefix(job) + 0),
    );
    if (chunk?.length !== job.bytes) throw payloadMissing(job);
    return chunk;
  }

  async remove(job: BatchJob): Promise<void> {
    const prefix = this.#prefix(job);
    await inOrder(chunkCount(job.bytes), async (index) => {
      await redis('a chunk was not freed', this.#client.unlink(prefix + index));
    });
  }

  #prefix(job: BatchJob): string {
    return this.#keys.chunks(batchJobId(job.route, job.generation, job.sequence));
  }
}

export function chunkCount(bytes: number): number {
  return Math.ceil(bytes / CHUNK_BYTES);
}

export function payloadMissing(job: BatchJob, cause?: unknown): FerryError {
  return new FerryError('PAYLOAD_MISSING', `payload of batch ${job.sequence} is not there`, {
    kind: 'storage',
    hint: 'with "payloads: spool" the worker must see the state directory of the producer; otherwise the producer will feed the batch again when it next opens the route',
    context: { route: job.route, sequence: job.sequence },
    ...(cause === undefined ? {} : { cause }),
  });
}

async function redis<T>(failure: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw redisTrouble(failure, error);
  }
}

/** Runs `work` for 0..count-1, at most `CHUNKS_IN_FLIGHT` at once. */
async function inOrder(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      await work(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(CHUNKS_IN_FLIGHT, count) }, lane));
}
