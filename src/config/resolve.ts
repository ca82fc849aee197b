import { basename, dirname, isAbsolute, resolve } from 'node:path';
import type { Environment } from './environment.js';
import type {
  DashboardConfig,
  DestinationConfig,
  FerryConfig,
  JournalRule,
  ReceiverConfig,
  RedisConfig,
  RouteTarget,
} from './model.js';
import type { FerryDocument, JournalDocument } from './schema.js';

type RedisDocument = FerryDocument['redis'];

/** Fills in what the schema cannot: absolute paths, references, one shape for every spelling. */
export function resolveDocument(
  document: FerryDocument,
  file: string | null,
  directory: string,
  environment: Environment,
): FerryConfig {
  const absolute = (path: string) => (isAbsolute(path) ? path : resolve(directory, path));
  return {
    file,
    redis: resolveRedis(document.redis, absolute, environment),
    stateDir: absolute(document.state),
    payloads: document.payloads,
    destinations: new Map(
      Object.entries(document.destinations).map(([name, destination]) => [
        name,
        resolveDestination(name, destination, absolute),
      ]),
    ),
    journals: document.journals.map((journal) => resolveRule(journal, absolute)),
    archive: { keepMs: document.archive.keep, maxBytes: document.archive.maxBytes },
    dashboard:
      document.dashboard === undefined ? null : resolveDashboard(document.dashboard, absolute),
    metrics: document.metrics ?? null,
    receiver: document.receiver === undefined ? null : resolveReceiver(document.receiver, absolute),
  };
}

type Absolute = (path: string) => string;

function resolveDashboard(
  { listen, users }: NonNullable<FerryDocument['dashboard']>,
  absolute: Absolute,
): DashboardConfig {
  return {
    listen,
    users: users.map(({ password, ...user }) => ({
      ...user,
      password: 'file' in password ? { file: absolute(password.file) } : password,
    })),
  };
}

function resolveRedis(
  redis: RedisDocument,
  absolute: Absolute,
  environment: Environment,
): RedisConfig {
  if (redis === 'embedded') return { kind: 'embedded', prefix: 'ferry', allowWithoutAof: false };
  const fields = typeof redis === 'string' ? { url: redis } : redis;
  const prefix = fields.prefix ?? 'ferry';
  const allowWithoutAof = fields.durability === 'none';
  const elsewhere = fields.sentinels !== undefined || fields.cluster !== undefined;
  if (!elsewhere && (fields.url === undefined || fields.url === 'embedded')) {
    return { kind: 'embedded', prefix, allowWithoutAof };
  }
  return {
    kind: 'url',
    url: fields.url ?? '',
    username: fields.username ?? null,
    password:
      typeof fields.password === 'object'
        ? (environment[fields.password.env] ?? null)
        : (fields.password ?? null),
    tls: resolveRedisTls(fields.tls, absolute),
    sentinels: fields.sentinels ?? null,
    cluster: fields.cluster ?? null,
    prefix,
    allowWithoutAof,
  };
}

function resolveRedisTls(
  tls: Exclude<RedisDocument, string>['tls'],
  absolute: Absolute,
): Record<string, unknown> | null {
  if (tls === undefined || tls === false) return null;
  if (tls === true) return {};
  return {
    rejectUnauthorized: tls.verify ?? true,
    ...(tls.ca === undefined ? {} : { ca: absolute(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: absolute(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: absolute(tls.key) }),
    ...(tls.servername === undefined ? {} : { servername: tls.servername }),
  };
}

function resolveDestination(
  name: string,
  from: FerryDocument['destinations'][string],
  absolute: Absolute,
): DestinationConfig {
  if ('directories' in from) {
    const directories = from.directories.map(absolute);
    return { kind: 'directories', name, directories, connections: 1, was: from.was };
  }
  const { key } = from;
  return {
    kind: 'wire',
    name,
    host: from.host.includes('/') ? absolute(from.host) : from.host,
    port: from.port,
    url: from.url.replace(/^\/+/, ''),
    key:
      typeof key === 'string'
        ? { file: absolute(key) }
        : 'file' in key
          ? { file: absolute(key.file) }
          : key,
    dialect: from.dialect,
    confirm: from.confirm,
    tls: {
      verify: from.tls.verify,
      caFile: from.tls.ca === undefined ? null : absolute(from.tls.ca),
      servername: from.tls.servername ?? null,
      certFile: from.tls.cert === undefined ? null : absolute(from.tls.cert),
      keyFile: from.tls.key === undefined ? null : absolute(from.tls.key),
    },
    connections: from.connections,
    timeouts: {
      connectMs: from.timeouts.connect,
      idleMs: from.timeouts.idle,
      applyMs: from.timeouts.apply,
    },
    identity: from.identity,
    was: from.was,
  };
}

/** The targets of a journal, whichever of the three spellings was used. */
export function targetsOf(to: JournalDocument['to']): RouteTarget[] {
  const list = Array.isArray(to) ? to : [to];
  return list.flatMap((entry): RouteTarget[] => {
    if (typeof entry === 'string') return [{ destination: entry, start: 'next' }];
    return Object.entries(entry).map(([destination, options]) => ({
      destination,
      start: options?.start ?? 'next',
    }));
  });
}

function resolveRule(from: JournalDocument, absolute: Absolute): JournalRule {
  const settings = {
    blobs: from.blobs === undefined ? null : absolute(from.blobs),
    to: targetsOf(from.to),
    intervalMs: from.interval,
    attempts: from.attempts,
    flush: {
      quietMs: from.flush.quiet,
      maxBytes: from.flush.maxBytes,
      trimAboveBytes: from.flush.trimAbove,
    },
    limits: {
      ahead: from.limits.ahead,
      queuedBytes: from.limits.queued,
      spoolBytes: from.limits.spool,
    },
  };
  if (from.match !== undefined) {
    const pattern = absolute(from.match);
    return {
      ...settings,
      kind: 'match',
      dir: dirname(pattern),
      pattern: basename(pattern),
      exclude: from.exclude ?? [],
    };
  }
  const path = absolute(from.path ?? '');
  return { ...settings, kind: 'path', name: from.name ?? basename(path), path };
}

function resolveReceiver(
  from: NonNullable<FerryDocument['receiver']>,
  absolute: Absolute,
): ReceiverConfig {
  return {
    listen: from.listen,
    tls:
      from.tls === 'off'
        ? null
        : {
            certFile: absolute(from.tls.cert),
            keyFile: absolute(from.tls.key),
            clientCaFile: from.tls.clientCa === undefined ? null : absolute(from.tls.clientCa),
            ticketKeysMs: from.tls.ticketKeys,
          },
    proxies: from.proxies,
    dataDir: absolute(from.data),
    dialect: from.dialect,
    limits: {
      maxBatchBytes: from.limits.maxBatch,
      maxBlobBytes: from.limits.maxBlob,
      idleMs: from.limits.idle,
      connections: from.limits.connections,
    },
    apps: from.apps.map((app) => ({
      name: app.name,
      keys: app.keys.map(absolute),
      apply: app.apply ?? null,
      ack: app.ack,
      limits: app.limits,
    })),
  };
}
