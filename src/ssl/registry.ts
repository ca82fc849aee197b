import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { FerryError, systemCode } from '../common/errors.js';
import { takeLock, tryTakeLock } from '../common/fileLock.js';
import { JOURNAL_NAME_FORBIDDEN } from '../config/fields.js';
import type { DaemonCall } from './arguments.js';
import type { Before } from './document.js';
import { registryDir } from './places.js';

/**
 * Who ships what in a shared state directory: a file per daemon, `state/ssl/<name>.json`, for ever,
 * so that a daemon that is started again finds its spool and its keys in Redis. Beside it lies a
 * lock that the daemon holds while it runs. No key text is kept.
 */
export interface DaemonEntry {
  version: 1;
  /** The journal's name in status, spool and routes: unique in the state directory. */
  name: string;
  /** What may have one daemon only: the journal's path, or the blob directory's. */
  subject: string;
  /** Where it goes; another daemon may not send the same elsewhere. */
  target: string;
  prefix: string;
  /** Whether its Redis is the shared embedded one. */
  embedded: boolean;
  /** The call without keys, from which its configuration is made again for `ferry status`. */
  call: DaemonCall;
  directory: string;
  dialect: 'acked' | 'eof';
  /** All starts, this one included. */
  before: Before;
  /** Of its last start. */
  pid: number;
}

export type Claim =
  /** The daemon's lock is held until this process ends. */
  | { is: 'ours'; entry: DaemonEntry }
  /** The same daemon runs already. */
  | { is: 'running'; pid: number };

/** Others register too: milliseconds each. */
const REGISTRY_TIMEOUT_MS = 10_000;

export interface ClaimOptions {
  stateDir: string;
  directory: string;
  dialect: 'acked' | 'eof';
  embedded: boolean;
}

/**
 * Makes this process the daemon of what the call ships.
 *
 * @throws FerryError SSL_SHIPPED_ELSEWHERE: another daemon sends the same journal to another place
 */
export async function claimDaemon(call: DaemonCall, options: ClaimOptions): Promise<Claim> {
  const { stateDir, directory } = options;
  const dir = registryDir(stateDir);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const registry = await takeLock(join(dir, '.lock'), 'exclusive', REGISTRY_TIMEOUT_MS);
  if (registry === null) {
    throw new FerryError('SSL_REGISTRY_BUSY', `${dir} is locked by another start`, {
      kind: 'storage',
      hint: 'try again in a moment',
    });
  }
  try {
    const subject = subjectOf(call, directory);
    const target = targetOf(call, directory);
    const entries = await readEntries(stateDir);
    const known = entries.find((entry) => entry.subject === subject);
    const name = known?.name ?? freeName(subject, new Set(entries.map((entry) => entry.name)));
    const lock = await tryTakeLock(lockFile(stateDir, name), 'exclusive');
    if (lock === null) {
      if (known !== undefined && known.target === target) return { is: 'running', pid: known.pid };
      throw shippedElsewhere(subject, known);
    }
    const entry: DaemonEntry = {
      version: 1,
      name,
      subject,
      target,
      prefix: known?.prefix ?? `ssl-${randomBytes(6).toString('hex')}`,
      embedded: options.embedded,
      call: { ...call, key: call.key === null ? null : withoutText(call.key) },
      directory,
      dialect: options.dialect,
      before: {
        hosts: [...new Set([...(known?.before.hosts ?? []), call.host])],
        archive: known?.before.archive === true || call.archives.length > 0 || call.key === null,
      },
      pid: process.pid,
    };
    const file = join(dir, `${name}.json`);
    await writeFile(`${file}.new`, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
    await rename(`${file}.new`, file);
    return { is: 'ours', entry };
  } finally {
    await registry.release();
  }
}

/** Every daemon that was ever started with this state directory, by name. */
export async function readEntries(stateDir: string): Promise<DaemonEntry[]> {
  const dir = registryDir(stateDir);
  const names = await readdir(dir).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const entries: DaemonEntry[] = [];
  for (const name of names.sort()) {
    if (!name.endsWith('.json')) continue;
    entries.push(JSON.parse(await readFile(join(dir, name), 'utf8')) as DaemonEntry);
  }
  return entries;
}

function lockFile(stateDir: string, name: string): string {
  return join(registryDir(stateDir), `${name}.lock`);
}

function subjectOf(call: DaemonCall, directory: string): string {
  if (call.journal !== null) return resolve(directory, call.journal);
  if (call.blobDir !== null) return `${resolve(directory, call.blobDir)}/`;
  return `nothing to ${call.host}:${call.port}/${call.url}`;
}

/** Seconds and minutes may differ: the one that runs keeps its own. */
function targetOf(call: DaemonCall, directory: string): string {
  const to = call.key === null ? 'nowhere' : `${call.host}:${call.port}/${call.url}`;
  const directories = call.archives.map((path) => resolve(directory, path));
  const blobs = call.blobDir === null ? 'no blobs' : resolve(directory, call.blobDir);
  return [to, blobs, ...directories].join(' ');
}

/** Stands for a key that was written out in the call. */
const NO_TEXT = '***';

function withoutText(key: NonNullable<DaemonCall['key']>): NonNullable<DaemonCall['key']> {
  return key !== 'stdin' && key.kind === 'text' ? { kind: 'text', text: NO_TEXT } : key;
}

/** The file's name, with a number where another daemon has it. */
function freeName(subject: string, taken: ReadonlySet<string>): string {
  const base = [...basename(subject)]
    .map((char) => (JOURNAL_NAME_FORBIDDEN.includes(char) || char === '@' ? '_' : char))
    .join('')
    .trim();
  const stem = base === '' || base.startsWith('.') ? `journal${base}` : base;
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? stem : `${stem}-${number}`;
    if (!taken.has(name)) return name;
  }
}

function shippedElsewhere(subject: string, other: DaemonEntry | undefined): FerryError {
  const who = other === undefined ? 'another daemon' : `the daemon with pid ${other.pid}`;
  return new FerryError(
    'SSL_SHIPPED_ELSEWHERE',
    `${who} ships ${subject} already, with other arguments${other === undefined ? '' : ` (${other.target})`}`,
    {
      kind: 'storage',
      hint: 'end that one first (kill its pid); to send one journal to several places, use ferry run: ferry ssl --explain shows how to begin',
    },
  );
}
