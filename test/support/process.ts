import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { atEnd } from './atEnd.js';

/** The built programs, as they are installed. */
export const FERRY = fileURLToPath(new URL('../../src/cli/ferry.cjs', import.meta.url));
export const FERRY_SSL = fileURLToPath(new URL('../../src/cli/ferry-ssl.cjs', import.meta.url));

/** Only ever the news of a failure waits for it. A start alone took 15 s on a machine that did ten things at once. */
export const DEADLINE_MS = 60_000;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface StartOptions {
  cwd?: string;
  /** Added to the process's own; undefined takes a variable away. */
  env?: Readonly<Record<string, string | undefined>>;
  argv0?: string;
  /** How the output is read. Default UTF-8; `latin1` keeps every byte. */
  encoding?: BufferEncoding;
}

interface Waiter {
  stream: 'stdout' | 'stderr' | 'both';
  pattern: RegExp;
  resolve(line: string): void;
}

const running = new Set<ChildProcess>();

/** A runner that loses patience ends the test file with SIGTERM: no `after` hook runs then. */
function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}
process.on('exit', killAll);
process.on('SIGTERM', () => process.exit(143));

/** A child process whose output is awaited line by line, and which never outlives its test file. */
export class TestProcess {
  stdout = '';
  stderr = '';
  /** The end of the process and of its output. */
  readonly exit: Promise<Exit>;
  /** The end of the process alone: what it has started may still hold its output open. */
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #waiters = new Set<Waiter>();
  #isOver = false;

  constructor(command: string, args: readonly string[], options: StartOptions = {}) {
    const settings: SpawnOptions = {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.argv0 === undefined ? {} : { argv0: options.argv0 }),
    };
    this.#child = spawn(command, args, settings);
    running.add(this.#child);
    this.#child.on('exit', () => running.delete(this.#child));
    this.#child.on('error', () => running.delete(this.#child));
    const encoding = options.encoding ?? 'utf8';
    this.#collect('stdout', encoding);
    this.#collect('stderr', encoding);
    this.exited = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('exit', (code, signal) => resolve({ code, signal }));
    });
    this.exited.catch(() => undefined);
    this.exit = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (code, signal) => {
        this.#isOver = true;
        resolve({ code, signal });
      });
    });
    this.exit.catch(() => undefined);
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the process did not start');
    return this.#child.pid;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get stdin(): NodeJS.WritableStream {
    if (this.#child.stdin === null) throw new Error('no standard input');
    return this.#child.stdin;
  }

  /** The first line, past or future, that the pattern finds. Fails at the deadline or the end. */
  line(
    pattern: RegExp,
    deadlineMs: number = DEADLINE_MS,
    stream: Waiter['stream'] = 'both',
  ): Promise<string> {
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        act();
      };
      const fail = (why: string) =>
        finish(() => reject(new Error(`no line like ${pattern}: ${why}\n${this.output}`)));
      const timer = setTimeout(() => fail(`${deadlineMs} ms are over`), deadlineMs);
      const waiter: Waiter = { stream, pattern, resolve: (line) => finish(() => resolve(line)) };
      this.#waiters.add(waiter);
      this.#match(waiter);
      void this.exit.then(
        ({ code, signal }) => fail(`the process ended with ${signal ?? code}`),
        (error: unknown) => fail(String(error)),
      );
    });
  }

  /** Sends a signal to this very process and waits for its end. */
  async kill(signal: NodeJS.Signals = 'SIGKILL', deadlineMs = DEADLINE_MS): Promise<Exit> {
    if (!this.#isOver) this.#child.kill(signal);
    return this.end(deadlineMs);
  }

  /** Sends a signal and does not wait: SIGSTOP, SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for the end; fails at the deadline. */
  async end(deadlineMs = DEADLINE_MS): Promise<Exit> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`still running after ${deadlineMs} ms\n${this.output}`)),
        deadlineMs,
      );
    });
    try {
      return await Promise.race([this.exit, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  get output(): string {
    return `--- stdout\n${this.stdout}--- stderr\n${this.stderr}`;
  }

  #collect(name: 'stdout' | 'stderr', encoding: BufferEncoding): void {
    this.#child[name]?.setEncoding(encoding).on('data', (text: string) => {
      this[name] += text;
      for (const waiter of [...this.#waiters]) this.#match(waiter);
    });
  }

  #match(waiter: Waiter): void {
    for (const name of ['stdout', 'stderr'] as const) {
      if (waiter.stream !== 'both' && waiter.stream !== name) continue;
      // What follows the last line end is not a line yet.
      const line = this[name]
        .split('\n')
        .slice(0, -1)
        .find((text) => waiter.pattern.test(text));
      if (line !== undefined) {
        waiter.resolve(line);
        return;
      }
    }
  }
}

/** Starts a program; it is killed, if need be, when the test file ends. */
export function start(
  command: string,
  args: readonly string[],
  options: StartOptions = {},
): TestProcess {
  const child = new TestProcess(command, args, options);
  atEnd(async () => {
    await child.kill('SIGKILL').catch(() => undefined);
  });
  return child;
}

/** Starts `ferry`. */
export function startFerry(args: readonly string[], options: StartOptions = {}): TestProcess {
  return start(process.execPath, [FERRY, ...args], options);
}

export interface Result extends Exit {
  stdout: string;
  stderr: string;
}

/** Runs `ferry` to its end, with nothing on standard input. */
export async function runFerry(
  args: readonly string[],
  options: StartOptions = {},
): Promise<Result> {
  const child = new TestProcess(process.execPath, [FERRY, ...args], options);
  child.stdin.end();
  const exit = await child.end(60_000).catch(async (error: unknown) => {
    await child.kill();
    throw error;
  });
  return { ...exit, stdout: child.stdout, stderr: child.stderr };
}

/** Whether any process has this id; one that only waits to be collected does not count. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** Pauses between looks grow: what takes long should not have its processor looked away. */
const LOOK_MIN_MS = 5;
const LOOK_GROWTH = 1.2;
const LOOK_MAX_MS = 50;

/** Looks again and again until it is true. For what sends no event: files, foreign processes. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadlineMs: number = DEADLINE_MS,
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  for (let pauseMs = LOOK_MIN_MS; !(await condition()); pauseMs *= LOOK_GROWTH) {
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    const ms = Math.min(pauseMs, LOOK_MAX_MS);
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

/** Waits until a process that need not be our child has gone. */
export function gone(pid: number, deadlineMs = DEADLINE_MS): Promise<void> {
  return until(`process ${pid} has ended`, () => !isAlive(pid), deadlineMs);
}

/** Kills any process by its id and waits until it is gone. */
export async function killPid(pid: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  try {
    process.kill(pid, signal);
  } catch {
    return;
  }
  await gone(pid);
}

/** The next event, or an error at the deadline. */
export async function event(
  emitter: NodeJS.EventEmitter,
  name: string,
  deadlineMs: number = DEADLINE_MS,
): Promise<unknown[]> {
  return once(emitter, name, { signal: AbortSignal.timeout(deadlineMs) });
}
