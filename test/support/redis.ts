import { createConnection } from 'node:net';
import { join } from 'node:path';
import { findRedisServer, type RedisServer } from '../../src/queue/embedded/findServer.js';
import { ping } from '../../src/queue/embedded/ping.js';
import { atEnd } from './atEnd.js';
import { freePort } from './freePort.js';
import { TestProcess, until } from './process.js';
import { tempDir } from './tempDir.js';

/** What a Redis user of ours needs, besides keys and channels: as in docs/operations.md. */
export const NEEDED_RIGHTS =
  '-@all +@hash +@list +@set +@sortedset +@stream +@string +exists +del +unlink +type +pexpire +pttl +eval +evalsha +multi +exec +publish +subscribe +unsubscribe +ping +hello +auth +client|setname +time +info'.split(
    ' ',
  );

/** And in a cluster. */
export const CLUSTER_RIGHTS = ['+cluster|info', '+cluster|keyslot', '+cluster|slots'];

export interface TestRedisOptions {
  /** Listen on a free loopback port too. */
  tcp?: boolean;
  /** Options that replace ours, `{ appendonly: 'no' }`. */
  config?: Readonly<Record<string, string>>;
  /** The same, when they depend on the port. */
  settings?: (port: number) => Readonly<Record<string, string>>;
}

/** A real Redis server of one test file: own socket, own directory, ended with the file. */
export class TestRedis {
  readonly dir: string;
  readonly socketPath: string;
  /** 0 without `tcp`. */
  readonly port: number;
  readonly #program: string;
  readonly #name: string;
  readonly #config: Readonly<Record<string, string>>;
  #process: TestProcess | null = null;

  constructor(
    program: string,
    name: string,
    port: number,
    config: Readonly<Record<string, string>>,
  ) {
    this.#program = program;
    this.#name = name;
    this.port = port;
    this.#config = config;
    this.dir = tempDir();
    this.socketPath = join(this.dir, 'redis.sock');
  }

  /** `unix://...` */
  get url(): string {
    return `unix://${this.socketPath}`;
  }

  /** `redis://127.0.0.1:...`; only with `tcp`. */
  get tcpUrl(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    if (this.#process === null) throw new Error('the test Redis is not running');
    return this.#process.pid;
  }

  /** Holds its id while it runs: for crash points that kill it. */
  get pidFile(): string {
    return join(this.dir, 'redis.pid');
  }

  /** It was started, and somebody else has killed it. */
  get isDead(): boolean {
    return this.#process?.isOver === true;
  }

  /** Starts it on what it had on disk, and waits until it answers. */
  async start(): Promise<void> {
    const settings: Record<string, string> = {
      port: String(this.port),
      bind: '127.0.0.1',
      unixsocket: this.socketPath,
      unixsocketperm: '600',
      dir: this.dir,
      appendonly: 'yes',
      appendfsync: 'always',
      save: '',
      'maxmemory-policy': 'noeviction',
      pidfile: this.pidFile,
      ...this.#config,
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const child = new TestProcess(this.#program, args, { cwd: this.dir, argv0: this.#name });
    this.#process = child;
    await until('the test Redis answers', async () => {
      if (child.isOver) throw new Error(`the test Redis ended\n${child.output}`);
      return (await ping(this.socketPath)) === 'ready';
    });
  }

  /** Ends it as a service manager does. */
  async stop(): Promise<void> {
    await this.#process?.kill('SIGTERM');
    this.#process = null;
  }

  /** Ends it as a power switch does. */
  async kill(): Promise<void> {
    await this.#process?.kill('SIGKILL');
    this.#process = null;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Stands still, as a server does that swaps; `resume` goes on. */
  pause(): void {
    this.#process?.signal('SIGSTOP');
  }

  resume(): void {
    this.#process?.signal('SIGCONT');
  }

  /** Forgets everything. The run id stays. */
  async flushAll(): Promise<void> {
    await this.command('FLUSHALL');
  }

  /** One inline command and the first line of its answer. */
  command(...words: readonly string[]): Promise<string> {
    return redisCommand(this.socketPath, words);
  }
}

/** The server program of this run; a run that is to prove something of one must not use another. */
export async function findTestServer(): Promise<RedisServer> {
  const server = await findRedisServer();
  const wanted = process.env['FERRY_TEST_SERVER'] ?? server.name;
  if (server.name !== wanted) throw new Error(`${server.how} is not ${wanted}`);
  return server;
}

/** Starts a server and registers its end. */
export async function startTestRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const server = await findTestServer();
  const port = options.tcp === true ? await freePort() : 0;
  const config = { ...options.config, ...options.settings?.(port) };
  const redis = new TestRedis(server.program, server.name, port, config);
  atEnd(() => redis.kill());
  await redis.start();
  return redis;
}

/** Sends one command on a connection of its own and answers the first line, without its type. */
export function redisCommand(socketPath: string, words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path: socketPath });
    let received = '';
    socket.on('error', reject);
    socket.on('connect', () => {
      const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
      socket.write(`*${words.length}\r\n${parts.join('')}`);
    });
    socket.on('data', (chunk) => {
      received += chunk.toString('utf8');
      const [first, second] = received.split('\r\n');
      // A bulk answer has its text on the second line.
      if (first === undefined || !received.endsWith('\r\n')) return;
      if (first.startsWith('$') && first !== '$-1' && second === undefined) return;
      socket.destroy();
      if (first.startsWith('-')) reject(new Error(first.slice(1)));
      else resolve(first.startsWith('$') ? (second ?? '') : first.slice(1));
    });
    socket.on('close', () => reject(new Error(`Redis closed the connection: ${received}`)));
  });
}
