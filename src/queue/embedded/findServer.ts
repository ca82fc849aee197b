import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { FerryError } from '../../common/errors.js';

/** A program that runs as a Redis server. */
export interface RedisServer {
  /** Absolute file name. */
  program: string;
  /** What it must find as its own name (`argv[0]`) to act as a server. */
  name: 'redis-server' | 'valkey-server';
  version: string;
  /** For people: where it was found. */
  how: string;
}

/**
 * In this order. The last ones are the same binary under another name: the server looks at
 * `argv[0]` to learn what it is, and Debian's `redis-tools` ships it as `redis-check-rdb` alone.
 */
const CANDIDATES = [
  { file: 'valkey-server', name: 'valkey-server' },
  { file: 'redis-server', name: 'redis-server' },
  { file: 'redis-check-rdb', name: 'redis-server' },
  { file: 'valkey-check-rdb', name: 'valkey-server' },
] as const;

/** The oldest Redis whose commands and Lua are enough for BullMQ and for our scripts. */
const REDIS_VERSION_MIN = [6, 2] as const;

const VERSION_TIMEOUT_MS = 10_000;

/**
 * The first usable server on the search path.
 *
 * @throws FerryError REDIS_NOT_FOUND, REDIS_TOO_OLD
 */
export async function findRedisServer(
  searchPath: string = process.env['PATH'] ?? '',
): Promise<RedisServer> {
  const directories = searchPath.split(delimiter).filter((directory) => directory !== '');
  let tooOld: string | null = null;
  for (const { file, name } of CANDIDATES) {
    for (const directory of directories) {
      const program = join(directory, file);
      if (!(await isExecutable(program))) continue;
      const version = await versionOf(program, name);
      // A `redis-check-rdb` that is not a server in disguise says no version.
      if (version === null) continue;
      if (!isRecent(version)) {
        tooOld = `${program} is version ${version}`;
        continue;
      }
      const how = file === name ? `${program} ${version}` : `${program} as ${name} ${version}`;
      return { program, name, version, how };
    }
  }
  if (tooOld !== null) {
    throw new FerryError(
      'REDIS_TOO_OLD',
      `${tooOld}, and ${REDIS_VERSION_MIN.join('.')} is needed`,
      {
        kind: 'usage',
        hint: `install a newer one: ${INSTALL_HINT}`,
      },
    );
  }
  throw new FerryError(
    'REDIS_NOT_FOUND',
    '`redis: embedded` needs a Redis or Valkey server program, and none is on the PATH',
    { kind: 'redis', retry: false, hint: INSTALL_HINT },
  );
}

const INSTALL_HINT = [
  '`apt-get install redis-tools` (Debian, Ubuntu)',
  '`dnf install valkey` (Fedora)',
  '`brew install valkey` (macOS)',
  'or name a running server: redis: redis://127.0.0.1:6379',
].join(', ');

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function versionOf(program: string, name: string): Promise<string | null> {
  return new Promise((resolve) => {
    // Not execFile, which does not pass `argv0` on.
    const child = spawn(program, ['--version'], {
      argv0: name,
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: VERSION_TIMEOUT_MS,
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString('latin1');
    });
    child.on('error', () => resolve(null));
    child.on('close', () => {
      resolve(/(?:server|valkey).*\bv=(\d+\.\d+\.\d+)/i.exec(output)?.[1] ?? null);
    });
  });
}

function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [majorMin, minorMin] = REDIS_VERSION_MIN;
  return major > majorMin || (major === majorMin && minor >= minorMin);
}
