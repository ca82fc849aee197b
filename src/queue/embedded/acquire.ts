import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { asError, FerryError } from '../../common/errors.js';
import { type HeldLock, isLocked, takeLock } from '../../common/fileLock.js';
import type { Logger } from '../../common/logger.js';
import { resource } from '../../common/resources.js';
import { findRedisServer } from './findServer.js';
import type { KeeperArguments } from './keeper.js';
import { ping } from './ping.js';
import { type Places, preparePlaces, readRecord } from './places.js';

/** This process's share of the embedded Redis. */
export interface EmbeddedRedis {
  /** Unix socket of the server. */
  socketPath: string;
  /** Where the server program was found, for people. */
  how: string;
  /** Gives the share up; the server ends when nobody is left. Safe to call twice. */
  release(): Promise<void>;
}

export interface AcquireOptions {
  stateDir: string;
  logger: Logger;
  /** Where to look for the server program; default: PATH. */
  searchPath?: string;
}

/** Others start it, or end it: both take a second or two on a busy machine. */
const LOCK_TIMEOUT_MS = 30_000;
/** From the keeper's start to the first answer. Too short would fail on a slow disk. */
const START_TIMEOUT_MS = 15_000;
/** Reading a large append-only file back; 1 GB takes about 10 s. */
const LOADING_TIMEOUT_MS = 10 * 60_000;
const POLL_MS = 10;
/** How often a user looks whether the keeper lives: one lock call. */
const WATCH_MS = 1_000;
const KEEPER_LOG_BYTES_MAX = 256 * 1024;
const LOG_TAIL_LINES = 5;

/**
 * Makes this process a user of the state directory's own Redis: finds the running server or starts
 * it. All users share one server; it ends by itself when the last one has released it or died.
 *
 * Never installs anything.
 *
 * @throws FerryError REDIS_NOT_FOUND, REDIS_TOO_OLD, REDIS_START_FAILED, REDIS_START_BUSY
 */
export async function acquireEmbeddedRedis(options: AcquireOptions): Promise<EmbeddedRedis> {
  const places = await preparePlaces(options.stateDir);
  const user = new EmbeddedRedisUser(places, options);
  const { socketPath, how } = await user.join();
  return { socketPath, how, release: () => user.release() };
}

class EmbeddedRedisUser {
  #share: HeldLock | null = null;
  #timer: NodeJS.Timeout | null = null;
  #watching: Promise<void> | null = null;
  #released = false;

  constructor(
    private readonly places: Places,
    private readonly options: AcquireOptions,
  ) {}

  async join(): Promise<{ socketPath: string; how: string }> {
    const { logger } = this.options;
    const found = await this.#underStartLock(async () => {
      // Refused only while a keeper holds it exclusively, that is, while it ends the old server.
      this.#share = await takeLock(this.places.usersLock, 'shared', LOCK_TIMEOUT_MS);
      if (this.#share === null) throw busy(this.places.usersLock);
      try {
        return await this.#ensureServer();
      } catch (error) {
        await this.#share.release();
        throw error;
      }
    });
    logger.info({ socket: found.socketPath }, `embedded Redis: ${found.how}`);
    this.#timer = setInterval(() => this.#watch(), WATCH_MS).unref();
    return found;
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#watching;
    await this.#share?.release();
  }

  /** A keeper that was killed is replaced by whichever user sees it first. */
  #watch(): void {
    this.#watching ??= this.#replaceDeadKeeper()
      .catch((error: unknown) => {
        this.options.logger.error({ err: asError(error) }, 'cannot restart the embedded Redis');
      })
      .finally(() => {
        this.#watching = null;
      });
  }

  async #replaceDeadKeeper(): Promise<void> {
    if (await isLocked(this.places.keeperLock)) return;
    await this.#underStartLock(async () => {
      if (this.#released || (await isLocked(this.places.keeperLock))) return;
      this.options.logger.warn('the keeper of the embedded Redis is gone, starting another');
      await this.#ensureServer();
    });
  }

  async #underStartLock<T>(work: () => Promise<T>): Promise<T> {
    const lock = await takeLock(this.places.startLock, 'exclusive', LOCK_TIMEOUT_MS);
    if (lock === null) throw busy(this.places.startLock);
    try {
      return await work();
    } finally {
      await lock.release();
    }
  }

  /** Waits until the server answers, starting a keeper whenever there is none. */
  async #ensureServer(): Promise<{ socketPath: string; how: string }> {
    const { places, options } = this;
    const begun = performance.now();
    let keeper: ChildProcess | null = null;
    for (;;) {
      if (keeper === null || keeper.exitCode !== null || keeper.signalCode !== null) {
        if (keeper !== null && performance.now() - begun > START_TIMEOUT_MS) break;
        keeper = (await isLocked(places.keeperLock)) ? null : await this.#startKeeper();
      }
      const record = await readRecord(places);
      // An answer counts only from a server of the keeper that lives now.
      const isCurrent = record !== null && (keeper === null || record.keeperPid === keeper.pid);
      const answer = isCurrent ? await ping(record.socketPath) : 'none';
      if (isCurrent && answer === 'ready') {
        return { socketPath: record.socketPath, how: record.how };
      }
      const timeoutMs = answer === 'loading' ? LOADING_TIMEOUT_MS : START_TIMEOUT_MS;
      if (performance.now() - begun > timeoutMs) break;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new FerryError(
      'REDIS_START_FAILED',
      `the embedded Redis does not start: ${logTail(places) || 'it left no message'}`,
      {
        kind: 'redis',
        hint: `see ${places.serverLog} and ${places.keeperLog}`,
        context: { stateDir: options.stateDir },
      },
    );
  }

  async #startKeeper(): Promise<ChildProcess> {
    const { places, options } = this;
    const server = await findRedisServer(options.searchPath);
    const keeperArguments: KeeperArguments = { places, server };
    const log = openSync(places.keeperLog, 'a', 0o600);
    try {
      if (statSync(places.keeperLog).size > KEEPER_LOG_BYTES_MAX) truncateSync(places.keeperLog);
      const keeper = spawn(
        process.execPath,
        [
          // It holds one child and one lock; V8's defaults are for more.
          ...['--max-old-space-size=32', '--max-semi-space-size=1', '--v8-pool-size=0'],
          fileURLToPath(resource('bundle/keeper.cjs')),
          JSON.stringify(keeperArguments),
        ],
        {
          detached: true,
          stdio: ['ignore', log, log],
          cwd: places.dataDir,
          env: keeperEnvironment(),
        },
      );
      keeper.on('error', (error) =>
        options.logger.error({ err: error }, 'cannot start the keeper'),
      );
      keeper.unref();
      return keeper;
    } finally {
      closeSync(log);
    }
  }
}

/** What finding and running programs takes, and no secrets of ours. */
function keeperEnvironment(): NodeJS.ProcessEnv {
  const names = [
    'PATH',
    'LD_LIBRARY_PATH',
    'DYLD_LIBRARY_PATH',
    'HOME',
    'LANG',
    'LC_ALL',
    'TMPDIR',
  ];
  const env: NodeJS.ProcessEnv = { UV_THREADPOOL_SIZE: '1' };
  for (const name of names) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

function busy(lock: string): FerryError {
  return new FerryError(
    'REDIS_START_BUSY',
    `another process has been starting or ending the embedded Redis for ${LOCK_TIMEOUT_MS / 1000} s`,
    { kind: 'redis', hint: 'see which one: lsof on the lock file', context: { lock } },
  );
}

/** The last words of keeper and server, for the one who has to find out why. */
function logTail(places: Places): string {
  return [places.serverLog, places.keeperLog]
    .flatMap((file) => {
      try {
        return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES);
      } catch {
        return [];
      }
    })
    .filter((line) => /fatal|error|fail|can't|cannot|denied|bad /i.test(line))
    .join('; ');
}
