import type { Logger } from 'pino';
import { crashPoint } from '../../common/crashPoints.js';
import type { RedisClient } from '../connection.js';
import type { Keys } from '../keys.js';
import type { Subscriber } from '../subscriber.js';
import { CHUNK_BYTES, type PayloadSource } from './payloadStore.js';
import { chunkCount } from './redisPayloads.js';
import {
  TRANSFER_TTL_MS,
  type TransferHead,
  type TransferSubject,
  type TransferWish,
} from './transfer.js';

/** Between two looks at all wishes, for messages that were lost. */
const LOOK_MS = 2_000;

/**
 * Opens what a worker wants.
 *
 * @returns the source; a sentence when this producer owns the journal but has no such payload;
 *   null when the journal is another producer's.
 */
export type OpenSubject = (subject: TransferSubject) => Promise<PayloadSource | string | null>;

interface Serving {
  source: PayloadSource;
  head: Buffer;
  /** First chunk that was not uploaded yet. */
  uploaded: number;
  until: number;
  busy: boolean;
  idleTimer: NodeJS.Timeout;
}

/** The producer's end of transfers (see `transfer.ts`). */
export class TransferServer {
  readonly #serving = new Map<string, Serving | 'opening' | 'foreign'>();
  readonly #look: NodeJS.Timeout;
  readonly #stopListening: () => void;
  #stopped = false;

  constructor(
    private readonly client: RedisClient,
    private readonly keys: Keys,
    private readonly openSubject: OpenSubject,
    private readonly log: Logger,
    subscriber: Subscriber,
  ) {
    this.#stopListening = subscriber.listen(keys.transfers(), (message) => {
      const [what, id] = message.split(' ');
      if (id === undefined) return;
      if (what === 'want') void this.#wanted(id);
      else if (what === 'done') void this.#forget(id);
    });
    this.#look = setInterval(() => void this.#lookAtAll(), LOOK_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#look);
    this.#stopListening();
    await Promise.all([...this.#serving.keys()].map((id) => this.#forget(id)));
  }

  async #lookAtAll(): Promise<void> {
    try {
      const wishes = await this.client.hgetall(this.keys.wants());
      for (const [id, raw] of Object.entries(wishes)) {
        const wish = JSON.parse(raw) as TransferWish;
        if (Date.now() - wish.at > 2 * TRANSFER_TTL_MS) {
          await this.client.hdel(this.keys.wants(), id);
        } else await this.#wanted(id);
      }
    } catch {
      // Redis is away: the workers wait too, and ask again
    }
  }

  async #wanted(id: string): Promise<void> {
    if (this.#stopped) return;
    try {
      const raw = await this.client.hget(this.keys.wants(), id);
      if (raw === null) return;
      const wish = JSON.parse(raw) as TransferWish;
      const known = this.#serving.get(id);
      if (known === 'opening' || known === 'foreign') return;
      const serving = known ?? (await this.#open(id, wish));
      if (serving === null) return;
      serving.until = Math.max(serving.until, wish.until);
      if (wish.missing && !serving.busy) {
        serving.uploaded = Math.min(serving.uploaded, wish.next);
        if (wish.next === 0) await this.#put(id, 'head', serving.head);
      }
      await this.#upload(id, serving);
    } catch (err) {
      this.log.debug({ err, transfer: id }, 'transfer step failed; the worker asks again');
      await this.#forget(id);
    }
  }

  async #open(id: string, wish: TransferWish): Promise<Serving | null> {
    this.#serving.set(id, 'opening');
    const source = await this.openSubject(wish.subject);
    if (this.#stopped || this.#serving.get(id) !== 'opening') {
      // Its worker was done, or we are: nobody would close it.
      if (source !== null && typeof source !== 'string') await source.close();
      return null;
    }
    if (source === null) {
      this.#serving.set(id, 'foreign');
      setTimeout(() => this.#serving.delete(id), TRANSFER_TTL_MS).unref();
      return null;
    }
    if (typeof source === 'string') {
      this.#serving.delete(id);
      await this.#put(id, 'head', headOf({ missing: source }));
      return null;
    }
    const { bytes, inode, mtimeMs } = source;
    const serving: Serving = {
      source,
      head: headOf({ bytes, inode, mtimeMs }),
      uploaded: wish.next,
      until: wish.until,
      busy: false,
      idleTimer: setTimeout(() => void this.#forget(id), TRANSFER_TTL_MS),
    };
    this.#serving.set(id, serving);
    if (wish.next === 0) await this.#put(id, 'head', serving.head);
    return serving;
  }

  async #upload(id: string, serving: Serving): Promise<void> {
    if (serving.busy) return;
    serving.busy = true;
    serving.idleTimer.refresh();
    try {
      const count = chunkCount(serving.source.bytes);
      while (serving.uploaded < Math.min(serving.until, count) && !this.#stopped) {
        const from = serving.uploaded * CHUNK_BYTES;
        const to = Math.min(from + CHUNK_BYTES, serving.source.bytes);
        await this.#put(id, String(serving.uploaded), await serving.source.read(from, to));
        serving.uploaded += 1;
      }
    } finally {
      serving.busy = false;
    }
  }

  async #put(id: string, part: string, value: Buffer): Promise<void> {
    await this.client.set(this.keys.transferPart(id, part), value, 'PX', TRANSFER_TTL_MS);
    crashPoint('transfer.uploaded');
    await this.client.publish(this.keys.transfers(), `ready ${id}`);
  }

  async #forget(id: string): Promise<void> {
    const serving = this.#serving.get(id);
    this.#serving.delete(id);
    if (typeof serving !== 'object') return;
    clearTimeout(serving.idleTimer);
    await serving.source.close().catch(() => undefined);
  }
}

function headOf(head: TransferHead): Buffer {
  return Buffer.from(JSON.stringify(head));
}
