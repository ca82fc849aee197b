import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, readFile, realpath, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FerryError } from '../../common/errors.js';

/** Everything that the embedded server of one state directory leaves on disk. */
export interface Places {
  /** Shared by users; exclusive when the keeper ends the server. */
  usersLock: string;
  /** Held while somebody looks for the server and starts it. */
  startLock: string;
  /** Held by the living keeper. */
  keeperLock: string;
  /** Append-only file, logs, socket: `<state>/redis`. */
  dataDir: string;
  socketPath: string;
  /** What the keeper last started, as `ServerRecord`. */
  record: string;
  serverLog: string;
  keeperLog: string;
}

/** Who the running server is, for whoever finds it. */
export interface ServerRecord {
  pid: number;
  /** A user with another TMPDIR would compute another one. */
  socketPath: string;
  how: string;
  /** The process that started it. */
  keeperPid: number;
}

const RECORD_NAME = 'server.json';

/** The kernel's limit for the path of a Unix socket, without the ending zero. */
const SOCKET_PATH_BYTES_MAX = process.platform === 'darwin' ? 103 : 107;

/** Makes the directories, private to this user, and names the files in them. */
export async function preparePlaces(stateDir: string): Promise<Places> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const state = await realpath(stateDir);
  const dataDir = join(state, 'redis');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  await chmod(dataDir, 0o700);
  return {
    usersLock: join(state, 'redis.lock'),
    startLock: join(state, 'redis.start.lock'),
    keeperLock: join(state, 'redis.keeper.lock'),
    dataDir,
    socketPath: await socketPathFor(dataDir),
    record: join(dataDir, RECORD_NAME),
    serverLog: join(dataDir, 'redis.log'),
    keeperLog: join(dataDir, 'keeper.log'),
  };
}

async function socketPathFor(dataDir: string): Promise<string> {
  const beside = join(dataDir, 'redis.sock');
  if (Buffer.byteLength(beside) <= SOCKET_PATH_BYTES_MAX) return beside;
  const name = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  const inTmp = join(tmpdir(), `ferry-${name}`);
  const tooLong = Buffer.byteLength(join(inTmp, 'redis.sock')) > SOCKET_PATH_BYTES_MAX;
  const directory = tooLong ? join('/tmp', `ferry-${name}`) : inTmp;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // The temporary directory is everybody's: somebody else may have been here first.
  const found = await lstat(directory);
  const mine = process.getuid === undefined || found.uid === process.getuid();
  if (!found.isDirectory() || !mine || (found.mode & 0o077) !== 0) {
    throw new FerryError(
      'REDIS_SOCKET_DIR',
      `${directory} is not a private directory of this user`,
      {
        kind: 'storage',
        hint: 'remove it, or choose a shorter path for: state: ./state',
        context: { directory },
      },
    );
  }
  return join(directory, 'redis.sock');
}

export function readRecord(places: Places): Promise<ServerRecord | null> {
  return readRecordFile(places.record);
}

/** The same for who only looks: nothing is made. */
export function readRecordOf(stateDir: string): Promise<ServerRecord | null> {
  return readRecordFile(join(stateDir, 'redis', RECORD_NAME));
}

async function readRecordFile(file: string): Promise<ServerRecord | null> {
  try {
    const record: unknown = JSON.parse(await readFile(file, 'utf8'));
    return isRecord(record) ? record : null;
  } catch {
    return null;
  }
}

/** Replaces the record in one step, so that nobody reads half of it. */
export async function writeRecord(places: Places, record: ServerRecord): Promise<void> {
  const draft = `${places.record}.new`;
  await writeFile(draft, JSON.stringify(record), { mode: 0o600 });
  await rename(draft, places.record);
}

function isRecord(value: unknown): value is ServerRecord {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    Number.isSafeInteger(value.pid) &&
    'socketPath' in value &&
    typeof value.socketPath === 'string' &&
    'how' in value &&
    typeof value.how === 'string' &&
    'keeperPid' in value &&
    Number.isSafeInteger(value.keeperPid)
  );
}
