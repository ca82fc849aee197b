import { stringify } from 'yaml';
import { maskUrls } from '../common/maskUrls.js';
import type {
  DestinationConfig,
  FerryConfig,
  JournalRule,
  ListenAddress,
  RedisConfig,
} from './model.js';
import { formatDuration, formatSize } from './units.js';

/** What stands for a secret. */
export const MASK = '***';

/** The effective configuration as YAML: every default written out, paths absolute, no secrets. */
export function printConfig(config: FerryConfig): string {
  return stringify(
    {
      redis: redisOf(config.redis),
      state: config.stateDir,
      payloads: config.payloads,
      destinations: Object.fromEntries(
        [...config.destinations].map(([name, destination]) => [name, destinationOf(destination)]),
      ),
      journals: config.journals.map(journalOf),
      archive: {
        keep: formatDuration(config.archive.keepMs),
        maxBytes: formatSize(config.archive.maxBytes),
      },
      ...optional('dashboard', dashboardOf(config)),
      ...optional('metrics', config.metrics && { listen: addressOf(config.metrics.listen) }),
      ...optional('receiver', receiverOf(config)),
    },
    { lineWidth: 0 },
  );
}

function destinationOf(destination: DestinationConfig): unknown {
  const was = destination.was.length === 0 ? {} : { was: destination.was };
  if (destination.kind === 'directories') return { directories: destination.directories, ...was };
  return {
    host: destination.host,
    port: destination.port,
    url: destination.url,
    key: 'file' in destination.key ? destination.key.file : { text: MASK },
    dialect: destination.dialect,
    confirm: destination.confirm,
    tls: {
      verify: destination.tls.verify,
      ...optional('ca', destination.tls.caFile),
      ...optional('servername', destination.tls.servername),
      ...optional('cert', destination.tls.certFile),
      ...optional('key', destination.tls.keyFile),
    },
    connections: destination.connections,
    timeouts: {
      connect: formatDuration(destination.timeouts.connectMs),
      idle: formatDuration(destination.timeouts.idleMs),
      apply: formatDuration(destination.timeouts.applyMs),
    },
    identity: destination.identity,
    ...was,
  };
}

function redisOf(redis: RedisConfig): unknown {
  const common = {
    prefix: redis.prefix,
    durability: redis.allowWithoutAof ? 'none' : 'required',
  };
  if (redis.kind === 'embedded') return { url: 'embedded', ...common };
  return {
    ...optional('url', redis.url === '' ? null : maskUrls(redis.url)),
    ...optional('username', redis.username),
    ...optional('password', redis.password === null ? null : MASK),
    ...optional('tls', redis.tls === null ? null : redisTlsOf(redis.tls)),
    ...optional(
      'sentinels',
      redis.sentinels && {
        name: redis.sentinels.name,
        hosts: redis.sentinels.hosts.map(addressOf),
      },
    ),
    ...optional('cluster', redis.cluster?.map(addressOf) ?? null),
    ...common,
  };
}

function redisTlsOf(tls: Readonly<Record<string, unknown>>): unknown {
  if (Object.keys(tls).length === 0) return true;
  const { rejectUnauthorized, ...rest } = tls;
  return { verify: rejectUnauthorized, ...rest };
}

function journalOf(rule: JournalRule): unknown {
  return {
    ...(rule.kind === 'path'
      ? { name: rule.name, path: rule.path }
      : { match: `${rule.dir === '/' ? '' : rule.dir}/${rule.pattern}`, exclude: rule.exclude }),
    ...optional('blobs', rule.blobs),
    to: rule.to.map(({ destination, start }) => ({ [destination]: { start } })),
    interval: formatDuration(rule.intervalMs),
    attempts: rule.attempts,
    flush: {
      quiet: formatDuration(rule.flush.quietMs),
      maxBytes: formatSize(rule.flush.maxBytes),
      trimAbove: rule.flush.trimAboveBytes === null ? 'off' : formatSize(rule.flush.trimAboveBytes),
    },
    limits: {
      ahead: rule.limits.ahead,
      queued: formatSize(rule.limits.queuedBytes),
      spool: formatSize(rule.limits.spoolBytes),
    },
  };
}

function dashboardOf({ dashboard }: FerryConfig): unknown {
  if (dashboard === null) return null;
  return {
    listen: addressOf(dashboard.listen),
    users: dashboard.users.map(({ name, password, readOnly }) => ({
      name,
      password: 'scrypt' in password ? { scrypt: MASK } : password,
      readOnly,
    })),
  };
}

function receiverOf({ receiver }: FerryConfig): unknown {
  if (receiver === null) return null;
  const sizeOf = (bytes: number | null) => (bytes === null ? 'off' : formatSize(bytes));
  return {
    listen: addressOf(receiver.listen),
    tls:
      receiver.tls === null
        ? 'off'
        : {
            cert: receiver.tls.certFile,
            key: receiver.tls.keyFile,
            ...optional('clientCa', receiver.tls.clientCaFile),
            ticketKeys: formatDuration(receiver.tls.ticketKeysMs),
          },
    proxies: receiver.proxies.map(({ address, bits }) => `${address}/${bits}`),
    data: receiver.dataDir,
    dialect: receiver.dialect,
    limits: {
      maxBatch: sizeOf(receiver.limits.maxBatchBytes),
      maxBlob: sizeOf(receiver.limits.maxBlobBytes),
      idle: formatDuration(receiver.limits.idleMs),
      connections: receiver.limits.connections,
    },
    apps: receiver.apps.map(({ name, keys, apply, ack, limits }) => ({
      name,
      keys,
      ...optional('apply', apply),
      ack,
      limits: {
        bytesPerSecond: sizeOf(limits.bytesPerSecond),
        requestsPerMinute: limits.requestsPerMinute ?? 'off',
        storedBytes: sizeOf(limits.storedBytes),
      },
    })),
  };
}

/** `host:port`, with brackets around an IPv6 address. */
export function addressOf({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function optional(name: string, value: unknown): Record<string, unknown> {
  return value === null ? {} : { [name]: value };
}
