import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { killOnly, startTime } from './guard.js';

const LINE_DEADLINE_MS = 60_000;
const LOOK_MS = 20;
/** Logs of long runs are large; beginning and end say enough. */
const READ_MAX_BYTES = 64 * 1024;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** The directory of a run and all processes in it; nothing of either is left behind. */
export class Household {
  readonly dir: string;
  /** Violations are to be looked at: the directory stays. */
  keep = false;
  readonly #guard: ChildProcess;
  readonly #processes = new Map<number, string>();

  constructor() {
    this.dir = realpathSync(mkdtempSync(join(tmpdir(), 'ferry-chaos-')));
    // Detached: what ends this program from the terminal must not end the guard.
    this.#guard = spawn(process.execPath, [fileURLToPath(new URL('./guard.js', import.meta.url))], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#guard.on('error', () => undefined);
    this.#guard.stdin?.on('error', () => undefined);
    this.#tell(`dir ${this.dir}`);
    process.on('exit', () => this.clear());
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Starts a program whose output goes into a file of the directory. */
  start(name: string, command: string, args: readonly string[], options: StartOptions): Child {
    const child = new Child(this.path('logs', `${name}.log`), command, args, options);
    this.adopt(child.pid);
    void child.exit.then(() => this.release(child.pid));
    return child;
  }

  /** A process that somebody else started for this run. */
  adopt(pid: number): void {
    const start = startTime(pid);
    this.#processes.set(pid, start);
    this.#tell(`+ ${pid} ${start}`);
  }

  release(pid: number): void {
    this.#processes.delete(pid);
    this.#tell(`- ${pid}`);
  }

  /** Ends every process and removes the directory, unless it is to be kept. */
  clear(): void {
    for (const [pid, start] of this.#processes) killOnly(pid, start);
    this.#processes.clear();
    if (this.keep) this.#tell('keep');
    else rmSync(this.dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  /** Lets the guard go; it finds nothing left to do. */
  async close(): Promise<void> {
    this.clear();
    const over = new Promise((resolve) => this.#guard.once('exit', resolve));
    this.#guard.stdin?.end();
    await over;
  }

  #tell(line: string): void {
    this.#guard.stdin?.write(`${line}\n`);
  }
}

export interface StartOptions {
  cwd: string;
  argv0?: string;
  /** Default: our own. */
  env?: NodeJS.ProcessEnv;
}

/** A process of the run. Its log file holds what all of its name have printed. */
export class Child {
  readonly pid: number;
  readonly exit: Promise<Exit>;
  readonly #process: ChildProcess;
  readonly #log: string;
  readonly #from: number;
  #isOver = false;

  constructor(log: string, command: string, args: readonly string[], options: StartOptions) {
    const fd = openSync(log, 'a', 0o600);
    this.#log = log;
    this.#from = statSync(log).size;
    this.#process = spawn(command, args, { ...options, stdio: ['ignore', fd, fd] });
    closeSync(fd);
    this.exit = new Promise((resolve) => {
      const over = (exit: Exit): void => {
        this.#isOver = true;
        resolve(exit);
      };
      this.#process.on('error', () => over({ code: null, signal: null }));
      this.#process.on('exit', (code, signal) => over({ code, signal }));
    });
    if (this.#process.pid === undefined) throw new Error(`cannot start ${command}`);
    this.pid = this.#process.pid;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** The first of what this very process has printed. */
  get opening(): string {
    return this.#read(this.#from);
  }

  /** The last of it. */
  get ending(): string {
    return this.#read(Math.max(this.#from, statSync(this.#log).size - READ_MAX_BYTES));
  }

  /** The first match in its output; fails when it ends or is silent for too long. */
  async line(pattern: RegExp, deadlineMs = LINE_DEADLINE_MS): Promise<RegExpExecArray> {
    const deadline = performance.now() + deadlineMs;
    for (;;) {
      const isLast = this.#isOver || performance.now() > deadline;
      const match = pattern.exec(this.opening);
      if (match !== null) return match;
      if (isLast) throw new Error(`waited for ${pattern}; see ${this.#log}`);
      await sleep(LOOK_MS);
    }
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.#isOver) this.#process.kill(signal);
  }

  /** SIGKILL; also for a process that stands still. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exit;
  }

  /** SIGTERM, and SIGKILL when it is not over in time. null: it was not. */
  async stop(withinMs: number): Promise<Exit | null> {
    this.signal('SIGTERM');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), withinMs);
    });
    const exit = await Promise.race([this.exit, late]);
    clearTimeout(timer);
    if (exit === null) await this.kill();
    return exit;
  }

  #read(from: number): string {
    const fd = openSync(this.#log, 'r');
    try {
      const buffer = Buffer.alloc(READ_MAX_BYTES);
      return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, from)).toString('utf8');
    } finally {
      closeSync(fd);
    }
  }
}
