import { FerryError } from '../common/errors.js';
import type { RedisClient } from './connection.js';

/** What Redis promises of a write it has answered. `unknown`: CONFIG is forbidden here. */
export type Durability = 'always' | 'everysec' | 'no' | 'none' | 'unknown';

export interface RedisFacts {
  /** Changes with every start of the server; unchanged by FLUSHALL. */
  runId: string;
  version: string;
  durability: Durability;
  /**
   * A successor of this run may lack its last writes, leases among them: they need not be durable,
   * or another server may take over without them, or this one has taken over itself.
   */
  mayLose: boolean;
}

export interface InspectOptions {
  /** The configuration says in words that an append-only file is not needed. */
  allowWithoutAof: boolean;
  /** Sentinel or a cluster decides which server it is. */
  failsOver: boolean;
}

/** The scripts read TIME and write afterwards: effects replication, the default since 6.2's era. */
export const OLDEST_REDIS: readonly [number, number] = [6, 2];

/** One field of the text that INFO answers, '' when absent. */
export function infoField(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}

/**
 * Looks at the server behind a connection. INFO first, because it works where CONFIG is forbidden.
 *
 * @throws FerryError REDIS_TOO_OLD, REDIS_NO_RIGHTS, REDIS_REPLICA, REDIS_EVICTS, REDIS_NOT_DURABLE:
 * batches could vanish, or nothing can be done or known; the operator changes that.
 */
export async function inspectRedis(
  client: RedisClient,
  { allowWithoutAof, failsOver }: InspectOptions,
): Promise<RedisFacts> {
  const info = await readInfo(client);
  const version = infoField(info, 'valkey_version') || infoField(info, 'redis_version') || '0.0.0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < OLDEST_REDIS[0] || (major === OLDEST_REDIS[0] && minor < OLDEST_REDIS[1])) {
    throw new FerryError('REDIS_TOO_OLD', `Redis ${version} is too old`, {
      kind: 'redis',
      hint: 'use Redis 6.2 or newer, or Valkey',
    });
  }
  if (infoField(info, 'role') === 'slave') {
    throw new FerryError('REDIS_REPLICA', 'this Redis is a replica and takes no writes', {
      kind: 'redis',
      hint: 'name its primary, or let Sentinel name it: redis: {sentinels: {...}}',
    });
  }
  const policy = infoField(info, 'maxmemory_policy');
  if (policy !== '' && policy !== 'noeviction') {
    throw new FerryError('REDIS_EVICTS', `Redis may evict keys (maxmemory-policy ${policy})`, {
      kind: 'redis',
      hint: 'run: redis-cli CONFIG SET maxmemory-policy noeviction, and put it into redis.conf',
    });
  }
  const aof = infoField(info, 'aof_enabled') === '1';
  if (!aof && !allowWithoutAof) {
    throw new FerryError('REDIS_NOT_DURABLE', 'Redis keeps no append-only file', {
      kind: 'redis',
      hint: 'run: redis-cli CONFIG SET appendonly yes, and put it into redis.conf; or, if a repeat after a restart of Redis is acceptable, say "redis: {url: ..., durability: none}"',
    });
  }
  const durability = aof ? await fsyncPolicy(client) : 'none';
  return {
    runId: infoField(info, 'run_id'),
    version,
    durability,
    mayLose: durability !== 'always' || failsOver || hasReplication(info),
  };
}

/**
 * The server has replicas, is a member of a cluster, or was a replica before it was promoted: then
 * it carries its primary's replication id as its second one.
 */
function hasReplication(info: string): boolean {
  return (
    infoField(info, 'connected_slaves') !== '0' ||
    infoField(info, 'cluster_enabled') === '1' ||
    /[1-9a-f]/.test(infoField(info, 'master_replid2'))
  );
}

/** What a power cut of its host can cost, for the log; null when it costs nothing. */
export function durabilityWarning(durability: Durability): string | null {
  const safe =
    'Journals lose nothing: the spool keeps every batch until it is confirmed, and what Redis forgot is sent again, in order';
  switch (durability) {
    case 'always':
      return null;
    case 'everysec':
      return `this Redis may lose its last second or two when its host fails (appendfsync everysec): confirmations, positions and leases. ${safe}`;
    case 'no':
      return `this Redis may lose its last half minute when its host fails (appendfsync no): confirmations, positions and leases. ${safe}`;
    case 'none':
      return `this Redis forgets everything when it is restarted (no append-only file, as "durability: none" allows). ${safe}`;
    case 'unknown':
      return `nobody knows how much this Redis may lose when its host fails (CONFIG is forbidden). ${safe}`;
  }
}

async function readInfo(client: RedisClient): Promise<string> {
  try {
    return String(await client.info());
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOPERM')) throw error;
    throw new FerryError('REDIS_NO_RIGHTS', 'the Redis user may not ask for INFO', {
      kind: 'redis',
      hint: 'run: redis-cli ACL SETUSER <user> +info. Without it nobody knows whether Redis is durable, nor that it was restarted',
    });
  }
}

/** Of a server that has an append-only file. */
export async function fsyncPolicy(client: RedisClient): Promise<Durability> {
  const value = await readSetting(client, 'appendfsync');
  return value === 'always' || value === 'everysec' || value === 'no' ? value : 'unknown';
}

/** One setting of the server; null where CONFIG is forbidden, as on many hosted servers. */
export async function readSetting(client: RedisClient, name: string): Promise<string | null> {
  try {
    const answer: unknown = await client.config('GET', name);
    const value = Array.isArray(answer) ? answer[1] : fieldOf(answer, name);
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}

/** With RESP3 the answer to CONFIG GET is a map, which ioredis gives as an object. */
function fieldOf(answer: unknown, field: string): unknown {
  return typeof answer === 'object' && answer !== null ? Reflect.get(answer, field) : undefined;
}
