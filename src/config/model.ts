/**
 * The configuration as the rest of the program sees it: every default filled in, every path
 * absolute, durations in milliseconds, sizes in bytes. Made by `load.ts` from `ferry.yaml`.
 */

export interface FerryConfig {
  /** The file it came from; null when built in memory. */
  file: string | null;
  redis: RedisConfig;
  /** Spool, archive, embedded Redis, audit log. Absolute. Default: `state` beside the file. */
  stateDir: string;
  /** Where workers read payload: the producer's spool (same host or shared disk) or Redis. */
  payloads: 'spool' | 'redis';
  destinations: ReadonlyMap<string, DestinationConfig>;
  journals: readonly JournalRule[];
  /** Delivered batches kept for replay, per journal. Either 0: none. */
  archive: { keepMs: number; maxBytes: number };
  dashboard: DashboardConfig | null;
  metrics: { listen: ListenAddress } | null;
  receiver: ReceiverConfig | null;
}

export interface ListenAddress {
  host: string;
  port: number;
}

export type RedisConfig =
  | { kind: 'embedded'; prefix: string; allowWithoutAof: boolean }
  | {
      kind: 'url';
      /** redis://, rediss:// or unix:///path; empty when `sentinels` or `cluster` say where. */
      url: string;
      username: string | null;
      password: string | null;
      /** Options of `tls.connect`, but `ca`, `cert` and `key` are absolute file names. */
      tls: Readonly<Record<string, unknown>> | null;
      sentinels: { hosts: readonly ListenAddress[]; name: string } | null;
      cluster: readonly ListenAddress[] | null;
      /** All keys live under `{prefix}`. Default `ferry`. */
      prefix: string;
      /** The words that allow a Redis without AOF: `durability: none`. Default false. */
      allowWithoutAof: boolean;
    };

export type Secret = { file: string } | { text: string };

export type Dialect = 'acked' | 'eof' | 'h2';

export type DestinationConfig = WireDestination | DirectoryDestination;

interface DestinationCommon {
  name: string;
  /** Connections at once, per worker process. Default 4; directories have 1. */
  connections: number;
  /** The names this destination had before: their routes go on under the new one. */
  was: readonly string[];
}

/** Directories of this host that get a copy of each batch, numbered. None: nothing is kept. */
export interface DirectoryDestination extends DestinationCommon {
  kind: 'directories';
  /** Absolute. */
  directories: readonly string[];
}

/** A server that speaks the wire. */
export interface WireDestination extends DestinationCommon {
  kind: 'wire';
  /** Host name or address; a value with "/" is a file whose first line is the address. */
  host: string;
  port: number;
  /** Template, `{journal}` is the journal's name. Without leading slash. */
  url: string;
  key: Secret;
  dialect: Dialect;
  /** `applied`: wait for the server's EOF after our half-close. `acked`: the `T` is enough. */
  confirm: 'applied' | 'acked';
  tls: {
    verify: boolean;
    caFile: string | null;
    servername: string | null;
    /** A certificate of ours, for a server that asks for one. */
    certFile: string | null;
    keyFile: string | null;
  };
  timeouts: { connectMs: number; idleMs: number; applyMs: number };
  /** Whether requests say who their batch is. Default true; PicoLisp ignores it. */
  identity: boolean;
  /** What stands as `Host` in requests instead of host and port. Not in the file: for `ferry ssl`. */
  hostHeader?: string;
}

export interface RouteTarget {
  destination: string;
  /** How a new route to a journal that already has a spool begins. Default `next`. */
  start: 'next' | 'paused';
}

interface JournalSettings {
  /** Blob directory, absolute, may hold `{journal}`; null: no blobs. */
  blobs: string | null;
  to: readonly RouteTarget[];
  /** Between retries, and the safety poll. Default 20 s. */
  intervalMs: number;
  /** Failed attempts after which a route is blocked; 0: for ever. */
  attempts: number;
  flush: { quietMs: number; maxBytes: number; trimAboveBytes: number | null };
  limits: { ahead: number; queuedBytes: number; spoolBytes: number };
}

export type JournalRule = JournalSettings &
  (
    | { kind: 'path'; name: string; path: string }
    /** Every file of `dir` whose name matches `pattern` and none of `exclude` is a journal. */
    | { kind: 'match'; dir: string; pattern: string; exclude: readonly string[] }
  );

/** One journal, its name and templates resolved. */
export interface JournalConfig extends Omit<JournalSettings, 'blobs'> {
  name: string;
  path: string;
  blobsDir: string | null;
}

export interface ReceiverApp {
  /** First path segment of the url; `*` for any. */
  name: string;
  keys: readonly string[];
  apply: readonly string[] | null;
  /** When `T` is answered: once the batch is stored, or once the apply command has done it. */
  ack: 'stored' | 'applied';
  /** Of each app by itself; null: no limit. */
  limits: {
    /** Read no faster than this, on average; more than some seconds behind it is refused. */
    bytesPerSecond: number | null;
    /** Batches and blobs. */
    requestsPerMinute: number | null;
    /** What lies in the app's folders of batches and blobs. */
    storedBytes: number | null;
  };
}

/** Addresses whose first `bits` bits are those of `address`. */
export interface Subnet {
  address: string;
  bits: number;
}

export interface ReceiverTls {
  certFile: string;
  keyFile: string;
  /** Clients must show a certificate of this authority. Null: they need none. */
  clientCaFile: string | null;
  /** Age at which the keys of session tickets are replaced. */
  ticketKeysMs: number;
}

export interface ReceiverConfig {
  listen: ListenAddress;
  /** Null: no TLS, behind a gate on the same host. */
  tls: ReceiverTls | null;
  /** Whose connections begin with a PROXY protocol v2 header. */
  proxies: readonly Subnet[];
  dataDir: string;
  /** Of the old wire; `h2`: HTTP/2 only. */
  dialect: Dialect;
  limits: {
    maxBatchBytes: number | null;
    maxBlobBytes: number | null;
    idleMs: number;
    connections: number;
  };
  apps: readonly ReceiverApp[];
}

export interface DashboardConfig {
  listen: ListenAddress;
  users: readonly {
    name: string;
    password: { env: string } | { file: string } | { scrypt: string };
    readOnly: boolean;
  }[];
}
