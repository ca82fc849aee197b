import { basename, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { FerryError } from '../common/errors.js';
import type { Environment } from '../config/environment.js';
import { DESTINATION_NAME_FORBIDDEN } from '../config/fields.js';
import { parseConfig } from '../config/load.js';
import type { FerryConfig } from '../config/model.js';
import { ConfigError } from '../config/problems.js';
import type { DaemonCall } from './arguments.js';
import { servicePort } from './port.js';

/** bin/ssl without seconds looks without a pause; a look here costs more than one there. */
const INTERVAL_MIN_TEXT = '100ms';

/** No file has this name: the journal of a daemon that ships blobs only. */
const NO_JOURNAL = '.no-journal';

/** The destination of the directories behind the minutes. */
const ARCHIVE = 'archive';

export interface DocumentOptions {
  /** Where relative names of the call begin. */
  directory: string;
  /** The journal's name in status and state directory. */
  name: string;
  dialect: 'acked' | 'eof';
  /** Of earlier starts of this daemon; what waits for them goes to where it is sent now. */
  before?: Before;
}

/** What earlier starts of a daemon sent to. */
export interface Before {
  hosts: readonly string[];
  /** Whether there were archive directories. */
  archive: boolean;
}

/** Neither journal nor blobs: bin/ssl sleeps, and so do we. */
function hasNothingToDo(call: DaemonCall): boolean {
  return call.journal === null && (call.blobDir === null || call.key === null);
}

/** What `ferry.yaml` has to say to do what the call does; null when there is nothing to do. */
export function documentOf(
  call: DaemonCall,
  { directory, name, dialect, before }: DocumentOptions,
): Record<string, unknown> | null {
  if (hasNothingToDo(call)) return null;
  const absolute = (path: string) => resolve(directory, path);
  const destinations: Record<string, unknown> = {};
  const to: string[] = [];
  if (call.key !== null) {
    const destination = destinationName(call.host);
    to.push(destination);
    const was = new Set(before?.hosts.map(destinationName));
    was.delete(destination);
    destinations[destination] = {
      host: call.host.includes('/') ? absolute(call.host) : call.host,
      port: servicePort(call.port),
      url: call.url,
      key: keyOf(call.key, absolute),
      ...(dialect === 'eof' ? { dialect } : {}),
      ...(call.verify ? {} : { tls: { verify: false } }),
      identity: false,
      ...(was.size === 0 ? {} : { was: [...was] }),
    };
  }
  // Without directories any more it keeps nothing; left out, its batches would wait for ever.
  if (call.key === null || call.archives.length > 0 || before?.archive === true) {
    to.push(ARCHIVE);
    destinations[ARCHIVE] = { directories: call.archives.map(absolute) };
  }
  const blobs = call.key === null || call.blobDir === null ? null : absolute(call.blobDir);
  const path = call.journal === null ? join(blobs ?? '', NO_JOURNAL) : absolute(call.journal);
  return {
    archive: { keep: '0s' },
    destinations,
    journals: [
      {
        name,
        path,
        ...(blobs === null ? {} : { blobs: `${blobs}/` }),
        to: to.length === 1 ? to[0] : to,
        interval: call.seconds === 0 ? INTERVAL_MIN_TEXT : `${call.seconds}s`,
      },
    ],
  };
}

function keyOf(
  key: NonNullable<DaemonCall['key']>,
  absolute: (path: string) => string,
): string | { text: string } {
  if (key === 'stdin') throw new TypeError('a key on standard input is read before');
  return key.kind === 'file' ? absolute(key.path) : { text: key.text };
}

/** A host is a good name for a destination; a host file's name nearly as good. */
function destinationName(host: string): string {
  const name = [...basename(host)].map((char) =>
    DESTINATION_NAME_FORBIDDEN.includes(char) ? '_' : char,
  );
  const text = name.join('').trim();
  return text === '' || text === ARCHIVE ? 'server' : text;
}

/** `${` means an environment variable there. */
function withoutVariables(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('${', () => '$${');
  if (Array.isArray(value)) return value.map(withoutVariables);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, withoutVariables(inner)]),
  );
}

export function documentText(document: Record<string, unknown>): string {
  return stringify(withoutVariables(document), { lineWidth: 0 });
}

export interface PlaceOptions {
  stateDir: string;
  /** All keys of this daemon in Redis live under it. */
  prefix: string;
  env: Environment;
}

/**
 * The configuration in which the daemon runs: that of its document, in the shared state directory.
 *
 * @throws FerryError SSL_ARGUMENTS (kind usage): what the configuration would refuse
 */
export function configOf(
  document: Record<string, unknown>,
  call: DaemonCall,
  { stateDir, prefix, env }: PlaceOptions,
): FerryConfig {
  const url = env['REDIS_URL'] ?? '';
  const redis = {
    ...(url === '' ? {} : { url }),
    prefix,
    ...(env['FERRY_REDIS_DURABILITY'] === 'none' ? { durability: 'none' } : {}),
  };
  try {
    const text = documentText({ ...document, redis, state: stateDir });
    const config = parseConfig(text, { file: 'arguments', env: {} });
    return { ...config, file: null, destinations: withHostHeader(config, call) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const [first] = error.problems;
    throw new FerryError(
      'SSL_ARGUMENTS',
      error.problems.map(({ field, message }) => `${field}: ${message}`).join('; '),
      { kind: 'usage', ...(first === undefined ? {} : { hint: first.hint }) },
    );
  }
}

/** bin/ssl writes host and port into the request as they were given, be the host a file. */
function withHostHeader(config: FerryConfig, call: DaemonCall): FerryConfig['destinations'] {
  return new Map(
    [...config.destinations].map(([name, destination]) => [
      name,
      destination.kind === 'wire'
        ? { ...destination, hostHeader: `${call.host}:${call.port}` }
        : destination,
    ]),
  );
}
