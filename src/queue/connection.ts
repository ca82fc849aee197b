import { readFileSync } from 'node:fs';
import { FerryError } from '../common/errors.js';
import type { RedisConfig } from '../config/model.js';
import { Redis, type RedisOptions } from './ioredis.js';
import { Keys } from './keys.js';
import { slotConnector } from './slotConnector.js';

/** A connection to one server: the one named, the primary that Sentinel names, our slot's node. */
export type RedisClient = Redis;

/** Redis as this process reaches it: embedded ones have become a socket path by now. */
export interface RedisTarget {
  config: RedisConfig;
  /** Set for `redis: embedded`. */
  socketPath?: string;
}

/**
 * How a connection behaves when Redis is away.
 *
 * `queue` waits for ever (BullMQ's own connections). `script` fails at once and never sends a
 * command twice: every answer comes from the very Redis run that the connection was opened to,
 * which is what makes a run id read at connect time worth anything.
 */
export type ConnectionUse = 'queue' | 'script' | 'subscribe';

/** Without `replyMapping`, whose presence would change the type of every answer. */
type ClientOptions = Omit<RedisOptions, 'replyMapping'>;

/** Longest pause between two tries to reach Redis: short, because journals fill meanwhile. */
const RECONNECT_PAUSE_MAX_MS = 1_000;
const CONNECT_TIMEOUT_MS = 10_000;
/**
 * For the goodbye of a server. One that hangs says none, and a command that is done would wait for
 * it all the same, 2 s by ioredis's default.
 */
const DISCONNECT_TIMEOUT_MS = 300;

/**
 * Opens a connection. It connects by itself, again and again; the caller attaches an `error`
 * listener, because ioredis raises every failed try there.
 *
 * @throws FerryError CONFIG_REDIS_URL when the url cannot be used.
 */
export function connectRedis(target: RedisTarget, use: ConnectionUse): RedisClient {
  const common: ClientOptions = {
    reconnectOnError: (error) => isElsewhere(error),
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), RECONNECT_PAUSE_MAX_MS),
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    ...(use === 'script'
      ? {
          enableOfflineQueue: false,
          autoResendUnfulfilledCommands: false,
          // Without it ioredis forgets what was under way at a disconnect: it would never settle.
          maxRetriesPerRequest: 0,
        }
      : { maxRetriesPerRequest: null }),
  };
  const { config } = target;
  if (config.kind === 'embedded') {
    if (target.socketPath === undefined) {
      throw new FerryError('REDIS_NOT_STARTED', 'embedded Redis was not started', {
        kind: 'internal',
      });
    }
    return new Redis({ ...common, path: target.socketPath });
  }

  const access: ClientOptions = {};
  if (config.username !== null) access.username = config.username;
  if (config.password !== null) access.password = config.password;
  if (config.tls !== null) access.tls = tlsOptions(config.tls);
  if (config.cluster !== null) {
    const Connector = slotConnector({
      seeds: config.cluster,
      key: new Keys(config.prefix).routes(),
      access,
    });
    return new Redis({ ...common, ...access, Connector });
  }
  if (config.sentinels !== null) {
    return new Redis({
      ...common,
      ...access,
      name: config.sentinels.name,
      sentinels: config.sentinels.hosts.map(({ host, port }) => ({ host, port })),
      // ioredis uses `tls` for neither the primary nor its Sentinels unless it is told so twice.
      ...(access.tls === undefined
        ? {}
        : { enableTLSForSentinelMode: true, sentinelTLS: access.tls }),
    });
  }
  if (config.url.startsWith('unix://')) {
    return new Redis({ ...common, ...access, path: config.url.slice('unix://'.length) });
  }
  if (!/^rediss?:\/\//.test(config.url)) {
    throw new FerryError('CONFIG_REDIS_URL', 'the Redis url has an unknown scheme', {
      kind: 'usage',
      hint: 'write redis://host:6379, rediss://host:6379 or unix:///path/to/redis.sock',
    });
  }
  return new Redis(config.url, { ...common, ...access });
}

/**
 * Another server is in charge now: this one lost our slot, or is a replica. Answers with such an
 * error did nothing; who asked gets it, and the connection finds out anew where to go.
 */
function isElsewhere(error: Error): boolean {
  return /^(MOVED|READONLY|CLUSTERDOWN) /.test(error.message);
}

/** `ca`, `cert`, `key` are files in the configuration and texts in Node. */
function tlsOptions(tls: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const options: Record<string, unknown> = { ...tls };
  for (const field of ['ca', 'cert', 'key']) {
    const file = options[field];
    if (typeof file === 'string') options[field] = readFileSync(file);
  }
  return options;
}
