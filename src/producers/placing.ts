import { routeName } from '../common/identity.js';
import type { FerryConfig, JournalConfig, RouteTarget } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import type { BatchJob } from '../queue/jobs.js';
import { bytesInRedis } from '../queue/memory.js';
import type { PayloadSource, PayloadStore } from '../queue/payload/payloadStore.js';
import type { BatchStore, StoredBatch } from './batchStore.js';
import { sourceOfBatch } from './payloadSource.js';
import type { Spool } from './spool/spool.js';

export interface PlacingParts {
  config: FerryConfig;
  journal: JournalConfig;
  target: RouteTarget;
  spool: Spool;
  store: BatchStore;
  access: QueueAccess;
  payloads: PayloadStore;
}

export interface Placed {
  generation: number;
  /** It may be sent at once: it must find a place, whatever else Redis is full of. */
  urgent: boolean;
}

/**
 * Finds the place from which workers read the batches of a route.
 *
 *     payloads: spool                          its place in the spool or the archive
 *     payloads: redis, room in Redis           chunks, uploaded here
 *     larger than limits.queued, or urgent
 *       without room                           a window: the worker asks for it chunk by chunk
 *     no room                                  nowhere yet: it waits in the spool
 */
export class Placing {
  readonly #p: PlacingParts;

  constructor(parts: PlacingParts) {
    this.#p = parts;
  }

  /**
   * Puts the payload where workers find it, and says where that is.
   *
   * @returns null: Redis has no room for it now; never when it is urgent
   * @throws FerryError REDIS_AWAY, REDIS_FULL; what reading the spool throws
   */
  async place(batch: StoredBatch, placed: Placed & { urgent: true }): Promise<BatchJob>;
  async place(batch: StoredBatch, placed: Placed): Promise<BatchJob | null>;
  async place(batch: StoredBatch, { generation, urgent }: Placed): Promise<BatchJob | null> {
    const { config, journal, target, spool, access } = this.#p;
    const job: BatchJob = {
      route: routeName(journal.name, target.destination),
      journal: journal.name,
      destination: target.destination,
      generation,
      stream: spool.stream,
      sequence: batch.sequence,
      bytes: batch.bytes,
      sha256: batch.sha256,
      sealedAtMs: batch.sealedAtMs,
      payload: batch.payload,
    };
    const uploads = config.payloads === 'redis' && batch.bytes <= journal.limits.queuedBytes;
    const needs = bytesInRedis(batch, config.payloads, journal.limits.queuedBytes);
    const giveBack = await access.memory.take(needs);
    try {
      if (giveBack === null && !urgent) return null;
      if (config.payloads === 'spool') return job;
      if (!uploads || giveBack === null) return { ...job, payload: { kind: 'transfer' } };
      return { ...job, payload: await this.#upload(job) };
    } finally {
      giveBack?.();
    }
  }

  async #upload(job: BatchJob): Promise<BatchJob['payload']> {
    const { store, payloads } = this.#p;
    let source: PayloadSource | undefined;
    try {
      source = await sourceOfBatch(store, job.sequence);
      return await payloads.put(job, source);
    } finally {
      await source?.close();
    }
  }
}
