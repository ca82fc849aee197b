import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { findRedisServer, type RedisServer } from '../src/queue/embedded/findServer.js';
import { ping } from '../src/queue/embedded/ping.js';
import type { Child, Household } from './household.js';

const START_DEADLINE_MS = 60_000;
const STOP_MS = 20_000;

/** For a server as the embedded one is, but for what `fsync` says. */
export function serverArguments(
  dir: string,
  socket: string,
  fsync: 'always' | 'everysec' = 'always',
): string[] {
  const settings: Record<string, string> = {
    port: '0',
    unixsocket: socket,
    unixsocketperm: '600',
    dir,
    appendonly: 'yes',
    appendfsync: fsync,
    save: '',
    'maxmemory-policy': 'noeviction',
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/** A Redis of its own, on a socket in the run's directory. */
export class ChaosRedis {
  readonly #household: Household;
  readonly #server: RedisServer;
  #child: Child | null = null;
  #hasCopy = false;

  readonly #fsync: 'always' | 'everysec';

  private constructor(household: Household, server: RedisServer, fsync: 'always' | 'everysec') {
    this.#household = household;
    this.#server = server;
    this.#fsync = fsync;
  }

  static async start(
    household: Household,
    fsync: 'always' | 'everysec' = 'always',
  ): Promise<ChaosRedis> {
    const redis = new ChaosRedis(household, await findRedisServer(), fsync);
    await mkdir(redis.#dir);
    await redis.start();
    return redis;
  }

  get url(): string {
    return `unix://${this.#socket}`;
  }

  get hasCopy(): boolean {
    return this.#hasCopy;
  }

  /** Starts it on what lies in its directory, and waits until it answers. */
  async start(): Promise<void> {
    const args = serverArguments(this.#dir, this.#socket, this.#fsync);
    const { program, name } = this.#server;
    const child = this.#household.start('redis', program, args, { cwd: this.#dir, argv0: name });
    this.#child = child;
    const deadline = performance.now() + START_DEADLINE_MS;
    while ((await ping(this.#socket)) !== 'ready') {
      if (child.isOver) throw new Error('Redis ended; see logs/redis.log');
      if (performance.now() > deadline) throw new Error('Redis does not answer');
      await sleep(20);
    }
  }

  /** As a service manager does. */
  async stop(): Promise<void> {
    await this.#child?.stop(STOP_MS);
  }

  async kill(): Promise<void> {
    await this.#child?.kill();
  }

  pause(): void {
    this.#child?.signal('SIGSTOP');
  }

  resume(): void {
    this.#child?.signal('SIGCONT');
  }

  /** Forgets everything; the run id stays. */
  async flush(): Promise<void> {
    const client = new Redis({ path: this.#socket, retryStrategy: () => null });
    client.on('error', () => undefined);
    try {
      await client.flushall();
    } finally {
      client.disconnect();
    }
  }

  /** Takes a copy of the append-only files. Only while the server is stopped. */
  async copy(): Promise<void> {
    await this.#replaceFiles(this.#dir, this.#copyDir);
    this.#hasCopy = true;
  }

  /** Puts the copy back. Only while the server is stopped. */
  async restore(): Promise<void> {
    await this.#replaceFiles(this.#copyDir, this.#dir);
  }

  get #dir(): string {
    return this.#household.path('redis');
  }

  get #copyDir(): string {
    return this.#household.path('redis-copy');
  }

  get #socket(): string {
    return join(this.#dir, 'redis.sock');
  }

  /** A directory since Redis 7, one file before. */
  async #replaceFiles(from: string, to: string): Promise<void> {
    await mkdir(to, { recursive: true });
    const isAof = (name: string): boolean => name.startsWith('appendonly');
    for (const name of (await readdir(to)).filter(isAof)) {
      await rm(join(to, name), { recursive: true });
    }
    for (const name of (await readdir(from)).filter(isAof)) {
      await cp(join(from, name), join(to, name), { recursive: true });
    }
  }
}
