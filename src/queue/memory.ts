import type { RedisClient } from './connection.js';
import type { ScriptConnection } from './scriptConnection.js';

/** Memory of a server in bytes, as it counts against its limit. */
export interface RedisMemory {
  used: number;
  /** 0: none. */
  limit: number;
}

const MEBIBYTE = 1024 * 1024;

/**
 * The last part of Redis's memory is not for batches that wait. Windows of transfers, jobs on
 * their way and the buffers of connections need it: without them nothing is confirmed, and
 * nothing freed. Too small: live routes stand still behind a dead one, since one window and the
 * buffers around it take 8 MiB. Too large: wasted.
 */
const RESERVE_SHARE = 1 / 8;
const RESERVE_BYTES_MIN = 8 * MEBIBYTE;
const RESERVE_BYTES_MAX = 64 * MEBIBYTE;
/** Of a very small memory half is left for what waits. */
const RESERVE_SHARE_MAX = 1 / 2;

/** A limit can be set at any time; without one it is looked for now and then. */
const LOOK_AGAIN_MS = 2_000;

export async function readMemory(client: RedisClient): Promise<RedisMemory> {
  const info = await client.info('memory');
  const count = (name: string): number =>
    Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  return {
    used: count('used_memory') - count('mem_not_counted_for_evict'),
    limit: count('maxmemory'),
  };
}

/** Bytes that may still be put there; Infinity without a limit. */
export function roomOf({ used, limit }: RedisMemory): number {
  if (limit === 0) return Number.POSITIVE_INFINITY;
  const wanted = Math.max(limit * RESERVE_SHARE, RESERVE_BYTES_MIN);
  return limit - Math.min(wanted, RESERVE_BYTES_MAX, limit * RESERVE_SHARE_MAX) - used;
}

/** What a batch takes in Redis without its payload: entry, job and events, generously. */
const JOB_BYTES = 4 * 1024;

/** What a batch that waits takes in Redis; one above `limits.queued` never lies there itself. */
export function bytesInRedis(
  batch: { bytes: number },
  payloads: 'spool' | 'redis',
  queuedBytesMax: number,
): number {
  const uploads = payloads === 'redis' && batch.bytes <= queuedBytesMax;
  return JOB_BYTES + (uploads ? batch.bytes : 0);
}

/**
 * How much of Redis's memory this process may fill with what waits. Producers on other hosts look
 * for themselves; what they put there at the same moment is in the reserve.
 */
export class MemoryRoom {
  readonly #scripts: ScriptConnection;
  #withoutLimit = 0;
  #looking: Promise<RedisMemory> | null = null;
  /** Taken and not there yet. */
  #taken = 0;

  constructor(scripts: ScriptConnection) {
    this.#scripts = scripts;
  }

  /**
   * Takes room for so many bytes.
   *
   * @returns what gives it back once they are there, or are not to come; null: there is no room
   * @throws FerryError REDIS_AWAY
   */
  async take(bytes: number): Promise<(() => void) | null> {
    if (performance.now() >= this.#withoutLimit) {
      const memory = await this.#look();
      if (bytes > roomOf(memory) - this.#taken) return null;
      if (memory.limit === 0) this.#withoutLimit = performance.now() + LOOK_AGAIN_MS;
    }
    this.#taken += bytes;
    return () => {
      this.#taken -= bytes;
    };
  }

  /** One question for all who want to know. */
  #look(): Promise<RedisMemory> {
    this.#looking ??= this.#scripts.ask(readMemory).finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }
}
