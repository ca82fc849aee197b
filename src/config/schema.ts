import { z } from 'zod';
import {
  boolean,
  DESTINATION_NAME_FORBIDDEN,
  duration,
  integer,
  JOURNAL_NAME_FORBIDDEN,
  listen,
  nameField,
  path,
  port,
  positiveDuration,
  positiveSize,
  RECEIVER_APP_FORBIDDEN,
  size,
  sizeOrOff,
  subnet,
  text,
} from './fields.js';

/**
 * The shape of `ferry.yaml`, field by field, and nothing else: what depends on two fields at once
 * is in `checks.ts`, defaults and paths in `resolve.ts`.
 */

const redisUrl = text.refine((value) => /^(rediss?:\/\/.|unix:\/\/\/)/.test(value), {
  error: 'expected embedded, redis://host:6379, rediss://host:6379 or unix:///path/to/redis.sock',
});

const password = z.union([text, z.strictObject({ env: text })], {
  error: 'expected text, or {env: NAME}',
});

const redis = z.union(
  [
    z.literal('embedded'),
    redisUrl,
    z.strictObject({
      url: z.union([z.literal('embedded'), redisUrl]).optional(),
      username: text.optional(),
      password: password.optional(),
      tls: z
        .union([
          boolean,
          z.strictObject({
            verify: boolean.optional(),
            ca: path.optional(),
            cert: path.optional(),
            key: path.optional(),
            servername: text.optional(),
          }),
        ])
        .optional(),
      sentinels: z.strictObject({ name: text, hosts: z.array(listen).min(1) }).optional(),
      cluster: z.array(listen).min(1).optional(),
      prefix: text
        .refine((value) => !/[{}\s:]/.test(value), {
          error: 'expected a prefix without spaces, braces and colons',
        })
        .optional(),
      durability: z.enum(['required', 'none']).optional(),
    }),
  ],
  { error: 'expected embedded, a Redis url, or an object with url' },
);

const secret = z.union([path, z.strictObject({ text }), z.strictObject({ file: path })], {
  error: 'expected a file name, or {text: "..."}',
});

/** A host, or with a "/" a file whose first line is the host. */
const host = text.refine(
  (value) => value.includes('/') || /^[^\s:@]+$|^[0-9a-fA-F:.%]+$/.test(value),
  {
    error: 'expected a host name or address without port, or a file (with a "/" in it)',
  },
);

const was = z
  .union([
    nameField(DESTINATION_NAME_FORBIDDEN).transform((name) => [name]),
    z.array(nameField(DESTINATION_NAME_FORBIDDEN)),
  ])
  .default([]);

const wireDestination = z.strictObject({
  host,
  port: port.default(443),
  url: text
    .refine((value) => /^[\x21-\x7e]+$/.test(value), {
      error: 'expected a url path without spaces, such as "{journal}.r/!replica"',
    })
    .refine((value) => !/[{}]/.test(value.replaceAll('{journal}', '')), {
      error: 'the only template is {journal}',
    }),
  key: secret,
  dialect: z.enum(['acked', 'eof', 'h2']).default('acked'),
  confirm: z.enum(['applied', 'acked']).default('applied'),
  tls: z
    .strictObject({
      verify: boolean.default(true),
      ca: path.optional(),
      servername: text.optional(),
      cert: path.optional(),
      key: path.optional(),
    })
    .prefault({}),
  connections: integer(1, 10_000, 'a number of connections').default(4),
  timeouts: z
    .strictObject({
      connect: positiveDuration.prefault('10s'),
      idle: positiveDuration.prefault('60s'),
      apply: positiveDuration.prefault('30m'),
    })
    .prefault({}),
  identity: boolean.default(true),
  was,
});

const directoryDestination = z.strictObject({ directories: z.array(path), was });

const destination = z.union([wireDestination, directoryDestination]);

const routeOptions = z
  .strictObject({ start: z.enum(['next', 'paused']).default('next') })
  .nullable();

const routes = z.record(text, routeOptions);

const journal = z.strictObject({
  name: nameField(JOURNAL_NAME_FORBIDDEN).optional(),
  path: path.optional(),
  match: path.optional(),
  exclude: z.array(text).optional(),
  blobs: path.optional(),
  to: z.union([text, z.array(z.union([text, routes])).min(1), routes], {
    error: 'expected a destination, a list of them, or {destination: {start: next}}',
  }),
  interval: positiveDuration.prefault('20s'),
  attempts: integer(0, 1_000_000_000, 'a number of attempts (0: for ever)').default(0),
  flush: z
    .strictObject({
      quiet: duration.prefault('0ms'),
      maxBytes: positiveSize.prefault('16MiB'),
      trimAbove: sizeOrOff.prefault('off'),
    })
    .prefault({}),
  limits: z
    .strictObject({
      ahead: integer(1, 1_000_000, 'a number of batches').default(64),
      queued: positiveSize.prefault('256MiB'),
      spool: positiveSize.prefault('20GiB'),
    })
    .prefault({}),
});

const archive = z.union(
  [
    z.literal(0).transform(() => ({ keep: 0, maxBytes: 0 })),
    z.strictObject({
      keep: duration.prefault('7d'),
      maxBytes: size.prefault('1GiB'),
    }),
  ],
  { error: 'expected {keep: 7d, maxBytes: 1GiB}, or 0 for none' },
);

const dashboard = z.strictObject({
  listen,
  users: z
    .array(
      z.strictObject({
        name: text.refine((value) => !value.includes(':'), {
          error: 'the name may not hold ":"',
        }),
        password: z.union(
          [
            z.strictObject({ env: text }),
            z.strictObject({ file: path }),
            z.strictObject({ scrypt: text }),
          ],
          { error: 'expected {env: NAME}, {file: PATH} or {scrypt: HASH}; no plain text here' },
        ),
        readOnly: boolean.default(false),
      }),
    )
    .default([]),
});

const receiver = z.strictObject({
  listen,
  tls: z.union(
    [
      z.literal('off'),
      z.strictObject({
        cert: path,
        key: path,
        clientCa: path.optional(),
        ticketKeys: positiveDuration.prefault('24h'),
      }),
    ],
    { error: 'expected {cert: FILE, key: FILE}, or off behind a gate on this host' },
  ),
  proxies: z.array(subnet).default([]),
  data: path.default('./received'),
  dialect: z.enum(['acked', 'eof', 'h2']).default('acked'),
  limits: z
    .strictObject({
      maxBatch: sizeOrOff.prefault('off'),
      maxBlob: sizeOrOff.prefault('off'),
      idle: positiveDuration.prefault('60s'),
      connections: integer(1, 1_000_000, 'a number of connections').default(512),
    })
    .prefault({}),
  apps: z
    .array(
      z.strictObject({
        name: nameField(RECEIVER_APP_FORBIDDEN),
        keys: z.array(path).min(1),
        apply: z.array(z.string()).min(1).optional(),
        ack: z.enum(['stored', 'applied']).default('stored'),
        limits: z
          .strictObject({
            bytesPerSecond: sizeOrOff.prefault('off'),
            requestsPerMinute: z
              .union([
                z.literal('off').transform(() => null),
                integer(1, 1_000_000_000, 'a number of requests'),
              ])
              .prefault('off'),
            storedBytes: sizeOrOff.prefault('off'),
          })
          .prefault({}),
      }),
    )
    .min(1),
});

export const ferrySchema = z.strictObject({
  redis: redis.default('embedded'),
  state: path.default('./state'),
  payloads: z.enum(['spool', 'redis']).default('spool'),
  destinations: z.record(nameField(DESTINATION_NAME_FORBIDDEN), destination).default({}),
  journals: z.array(journal).default([]),
  archive: archive.prefault({}),
  dashboard: dashboard.optional(),
  metrics: z.strictObject({ listen }).optional(),
  receiver: receiver.optional(),
});

/** The file as parsed: defaults filled in, units resolved, paths and references as written. */
export type FerryDocument = z.output<typeof ferrySchema>;
export type JournalDocument = FerryDocument['journals'][number];

/** JSON Schema of `ferry.yaml`, for editors. */
export function jsonSchema(): Record<string, unknown> {
  return {
    title: 'journal-ferry configuration',
    ...z.toJSONSchema(ferrySchema, { io: 'input', target: 'draft-2020-12' }),
  };
}
