import { randomUUID } from 'node:crypto';
import { crashPoint } from '../../common/crashPoints.js';
import { FerryError } from '../../common/errors.js';
import type { RedisClient } from '../connection.js';
import type { Keys } from '../keys.js';
import type { Subscriber } from '../subscriber.js';
import { redisTrouble } from '../trouble.js';
import { CHUNK_BYTES, CHUNKS_IN_FLIGHT } from './payloadStore.js';
import { chunkCount } from './redisPayloads.js';
import {
  TRANSFER_PATIENCE_MS,
  type TransferHead,
  type TransferSubject,
  type TransferWish,
  WISH_AGAIN_MS,
} from './transfer.js';

export interface OpenTransfer {
  bytes: number;
  inode: number;
  mtimeMs: number;
  chunks(): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** The worker's end of a transfer (see `transfer.ts`). */
export class TransferReader {
  readonly #client: RedisClient;
  readonly #keys: Keys;
  readonly #waiting = new Map<string, () => void>();
  readonly #stopListening: () => void;

  constructor(client: RedisClient, keys: Keys, subscriber: Subscriber) {
    this.#client = client;
    this.#keys = keys;
    this.#stopListening = subscriber.listen(keys.transfers(), (message) => {
      const [what, id] = message.split(' ');
      if (what === 'ready' && id !== undefined) this.#waiting.get(id)?.();
    });
  }

  /**
   * Opens the subject at its producer.
   *
   * @throws FerryError PAYLOAD_MISSING the producer says it has none;
   *   PAYLOAD_UNREACHABLE no producer answered within 30 s; REDIS_FULL, REDIS_AWAY
   */
  async open(subject: TransferSubject, signal: AbortSignal): Promise<OpenTransfer> {
    const id = randomUUID();
    const wish: TransferWish = {
      subject,
      next: 0,
      until: CHUNKS_IN_FLIGHT,
      missing: false,
      at: 0,
    };
    const close = async (): Promise<void> => {
      this.#waiting.delete(id);
      await this.#client.hdel(this.#keys.wants(), id);
      await this.#client.publish(this.#keys.transfers(), `done ${id}`);
    };
    try {
      const raw = await this.#take(id, 'head', wish, signal);
      const head = JSON.parse(raw.toString()) as TransferHead;
      if ('missing' in head) {
        throw new FerryError('PAYLOAD_MISSING', head.missing, {
          kind: 'storage',
          hint: 'look at the log of the producer of this journal',
        });
      }
      return { ...head, chunks: () => this.#chunks(id, wish, head.bytes, signal), close };
    } catch (error) {
      await close().catch(() => undefined);
      throw error;
    }
  }

  stop(): void {
    this.#stopListening();
  }

  async *#chunks(
    id: string,
    wish: TransferWish,
    bytes: number,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    const count = chunkCount(bytes);
    for (let index = 0; index < count; index += 1) {
      const chunk = await this.#take(id, String(index), wish, signal);
      const expected = Math.min(CHUNK_BYTES, bytes - index * CHUNK_BYTES);
      if (chunk.length !== expected) {
        throw new FerryError('PAYLOAD_MISSING', 'the producer ended the payload early', {
          kind: 'storage',
        });
      }
      wish.next = index + 1;
      wish.until = wish.next + CHUNKS_IN_FLIGHT;
      await this.#tell(id, wish);
      yield chunk;
    }
  }

  /** Takes a part out of Redis, waiting for the producer to put it there. */
  async #take(id: string, part: string, wish: TransferWish, signal: AbortSignal): Promise<Buffer> {
    const key = this.#keys.transferPart(id, part);
    const giveUpAt = performance.now() + TRANSFER_PATIENCE_MS;
    for (let asked = 0; ; asked += 1) {
      const came = new Promise<void>((resolve) => this.#waiting.set(id, resolve));
      const value = await this.#client.getdelBuffer(key).catch((error: unknown) => {
        throw redisTrouble('a chunk was not taken', error);
      });
      if (value !== null) {
        wish.missing = false;
        crashPoint('transfer.taken');
        return value;
      }
      signal.throwIfAborted();
      if (performance.now() > giveUpAt) {
        throw new FerryError('PAYLOAD_UNREACHABLE', 'no producer offers the payload', {
          kind: 'storage',
          hint: `start the producer of journal ${wish.subject.journal}: its payload is read from there`,
        });
      }
      wish.missing = asked > 0;
      await this.#tell(id, wish);
      await soon(came, WISH_AGAIN_MS, signal);
    }
  }

  async #tell(id: string, wish: TransferWish): Promise<void> {
    wish.at = Date.now();
    try {
      await this.#client.hset(this.#keys.wants(), id, JSON.stringify(wish));
      await this.#client.publish(this.#keys.transfers(), `want ${id}`);
    } catch (error) {
      throw redisTrouble('nothing can be asked of the producer', error);
    }
    crashPoint('transfer.wished');
  }
}

/** Resolves with the event, after `ms`, or when aborted; leaves no timer behind. */
async function soon(event: Promise<void>, ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    void event.then(done);
  });
}
