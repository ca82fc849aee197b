/**
 * The keeper: a small process of its own that owns the embedded Redis of one state directory.
 *
 * It is not the child of any one user, because users come and go; it ends the server when the
 * kernel says that no user is left (it gets the users' lock exclusively), which also holds when
 * they were all killed. States:
 *
 *     starting -> running -> (server died, users are left) -> pause -> starting
 *     any -> ending (no user left) -> gone
 *
 * SIGTERM does not end it: a service manager sends it to every process of a service at once, and
 * the users still need Redis to finish cleanly. It ends a moment after them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { open, rename, stat, unlink } from 'node:fs/promises';
import { waitForLock } from 'fs-native-extensions';
import { type HeldLock, takeLock } from '../../common/fileLock.js';
import type { RedisServer } from './findServer.js';
import { type Places, readRecord, writeRecord } from './places.js';
import { endProcess, findServers } from './processes.js';
import { serverCommand } from './serverCommand.js';

/** What the starter passes as the only argument, as JSON. */
export interface KeeperArguments {
  places: Places;
  server: RedisServer;
}

/** A user may look at the lock for a moment; a living keeper holds it for good. */
const KEEPER_LOCK_TIMEOUT_MS = 2_000;
/** A server that cannot start must not spin; one that was killed must be back soon. */
const RESTART_PAUSE_FIRST_MS = 50;
const RESTART_PAUSE_MAX_MS = 5_000;
/** A server that ran this long was healthy: the pause begins anew. */
const HEALTHY_AFTER_MS = 10_000;
/** Redis has everything on disk already; it needs moments, not seconds. */
const END_GRACE_MS = 5_000;
const LOG_BYTES_MAX = 1024 * 1024;
const LOG_CHECK_MS = 60_000;

class Keeper {
  #child: ChildProcess | null = null;
  #ending = false;
  #startedAt = 0;
  #pauseMs = RESTART_PAUSE_FIRST_MS;
  #restart: NodeJS.Timeout | null = null;

  constructor(
    private readonly places: Places,
    private readonly server: RedisServer,
    private readonly lock: HeldLock,
  ) {}

  async run(): Promise<void> {
    const { places } = this;
    const users = await open(places.usersLock, 'r+');
    const nobodyLeft = waitForLock(users.fd);
    await this.#endOrphans();
    setInterval(() => void boundLog(places.serverLog), LOG_CHECK_MS).unref();
    await this.#start();
    await nobodyLeft;
    this.#ending = true;
    await this.#end();
    // Before the users' lock is free: who gets that must find no keeper.
    await this.lock.release();
    await users.close();
  }

  /** A server whose keeper was killed: there is none to tell it when to end but us. */
  async #endOrphans(): Promise<void> {
    const { places } = this;
    const record = await readRecord(places);
    for (const socketPath of new Set([
      places.socketPath,
      record?.socketPath ?? places.socketPath,
    ])) {
      for (const pid of await findServers(socketPath, record?.pid ?? null)) {
        say(`ending server ${pid}, which lost its keeper`);
        await endProcess(pid, END_GRACE_MS);
      }
    }
  }

  async #start(): Promise<void> {
    if (this.#ending) return;
    const { places, server } = this;
    await boundLog(places.serverLog);
    const { command, args } = await serverCommand(server, places);
    if (this.#ending) return;
    this.#startedAt = performance.now();
    const child = spawn(command, args, {
      stdio: ['ignore', 'inherit', 'inherit'],
      cwd: places.dataDir,
    });
    this.#child = child;
    child.on('error', (error) => {
      say(`cannot run ${command}: ${error.message}`);
      if (child.pid === undefined) this.#ended('it did not start');
    });
    child.on('exit', (code, signal) => this.#ended(signal ?? `exit code ${code}`));
    if (child.pid === undefined) return;
    await writeRecord(places, {
      pid: child.pid,
      keeperPid: process.pid,
      socketPath: places.socketPath,
      how: server.how,
    });
  }

  #ended(why: string): void {
    this.#child = null;
    if (this.#ending) return;
    if (performance.now() - this.#startedAt > HEALTHY_AFTER_MS) {
      this.#pauseMs = RESTART_PAUSE_FIRST_MS;
    }
    say(`server ended (${why}); starting it again in ${this.#pauseMs} ms`);
    this.#restart = setTimeout(() => void this.#start().catch(fail), this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, RESTART_PAUSE_MAX_MS);
  }

  async #end(): Promise<void> {
    if (this.#restart !== null) clearTimeout(this.#restart);
    const child = this.#child;
    if (child?.pid !== undefined) await endProcess(child.pid, END_GRACE_MS);
    for (const file of [this.places.socketPath, this.places.record]) {
      await unlink(file).catch(() => undefined);
    }
  }
}

/** Redis opens its log anew for every line, so the file can be moved away under it. */
async function boundLog(file: string): Promise<void> {
  try {
    if ((await stat(file)).size > LOG_BYTES_MAX) await rename(file, `${file}.1`);
  } catch {
    // No log yet.
  }
}

function say(line: string): void {
  console.log(`${new Date().toISOString()} keeper ${process.pid}: ${line}`);
}

function fail(error: unknown): void {
  say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exit(1);
}

async function main(): Promise<void> {
  // What the server writes holds journal data: for this user only.
  process.umask(0o077);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => say(`${signal}: the server stays until its last user has ended`));
  }
  const { places, server }: KeeperArguments = JSON.parse(process.argv[2] ?? '');
  const lock = await takeLock(places.keeperLock, 'exclusive', KEEPER_LOCK_TIMEOUT_MS);
  if (lock === null) return;
  await new Keeper(places, server, lock).run();
  process.exit(0);
}

main().catch(fail);
