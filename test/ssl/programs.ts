/** The two programs that are compared, and what a case sees of each. */
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { testCerts } from '../support/certs.js';
import { BIN_SSL } from '../support/picolisp.js';
import {
  DEADLINE_MS,
  FERRY,
  FERRY_SSL,
  killPid,
  start,
  type TestProcess,
  until,
} from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import type { CaptureServer } from './captureServer.js';

/** By which name ours is started; both must do the same. */
export type Entry = 'ferry ssl' | 'ferry-ssl';

/** Everything that is compared. PORT stands for the server's port, DIR for the own directory. */
export interface Outcome {
  code: number | null;
  stdout: string;
  /** Application bytes per connection. */
  received: string[];
  /** Below the directory: see `listing`. */
  files: string[];
}

/** Names ending in `/` are directories; a value of `-> text` is a symbolic link. */
export type Files = Readonly<Record<string, string | Buffer>>;

/** One of the two programs in a directory of its own, with a server of its own. */
export class Side {
  readonly dir = tempDir();
  code: number | null = null;
  #process: TestProcess | null = null;
  /** Of a daemon that said it. PID stands for it in what is compared. */
  #pid: number | null = null;
  #inBackground = false;

  constructor(
    /** Null: the real `bin/ssl`. */
    readonly entry: Entry | null,
    readonly server: CaptureServer | null,
    private readonly stateDir: string,
    files: Files,
  ) {
    for (const [name, content] of Object.entries(files)) this.write(name, content);
  }

  get isOurs(): boolean {
    return this.entry !== null;
  }

  get port(): string {
    return String(this.server?.port ?? UNUSED_PORT);
  }

  get process(): TestProcess {
    if (this.#process === null) throw new Error('not started');
    return this.#process;
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  write(name: string, content: string | Buffer): void {
    const path = this.path(name);
    mkdirSync(name.endsWith('/') ? path : dirname(path), { recursive: true });
    if (name.endsWith('/')) return;
    const target = typeof content === 'string' ? /^-> (.*)$/.exec(content)?.[1] : undefined;
    if (target === undefined) writeFileSync(path, content);
    else symlinkSync(this.fill(target), path);
  }

  /** PORT and DIR filled in. */
  fill(text: string): string {
    return text.replaceAll('PORT', this.port).replaceAll('DIR', this.dir);
  }

  /** PORT and DIR put back, so that both programs' words can be equal. */
  mask(text: string): string {
    const masked = text.replaceAll(this.dir, 'DIR');
    return this.server === null ? masked : masked.replaceAll(this.port, 'PORT');
  }

  /** Starts the program with these words, in its directory. */
  start(words: readonly string[], env: Readonly<Record<string, string | undefined>> = {}): void {
    const filled = words.map((word) => this.fill(word));
    const options = {
      cwd: this.dir,
      encoding: 'latin1' as const,
      env: {
        SSL_CERT_FILE: testCerts().caFile,
        FERRY_STATE: this.stateDir,
        REDIS_URL: undefined,
        FERRY_DIALECT: undefined,
        ...env,
      },
    };
    if (this.entry === null) this.#process = start(BIN_SSL, filled, options);
    else {
      const program = this.entry === 'ferry-ssl' ? [FERRY_SSL] : [FERRY, 'ssl'];
      this.#process = start(process.execPath, [...program, ...filled], options);
    }
    this.#process.stdin.on('error', () => undefined);
  }

  /** Waits for the end of the program by itself. */
  async end(): Promise<void> {
    const { code, signal } = await within(this.process.exited, `${this.name} ends`);
    if (signal !== null) throw new Error(`${this.name} died of ${signal}\n${this.process.output}`);
    this.code = code;
    // A child of the real one reads standard input on, and holds the output open meanwhile.
    this.process.stdin.end();
    if (!this.#inBackground) await this.process.end();
  }

  /** Runs the program to its end. */
  async run(
    words: readonly string[],
    { stdin = '', env = {} }: { stdin?: string; env?: Record<string, string | undefined> } = {},
  ): Promise<void> {
    this.start(words, env);
    this.process.stdin.end(stdin, 'latin1');
    await this.end();
  }

  /** Ends a daemon in the foreground, politely. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const end = await this.process.kill(signal);
    if (end.signal !== null) throw new Error(`${this.name} died\n${this.process.output}`);
    this.code = end.code;
  }

  /** The pid that the daemon prints. One in the background is ended with `stopDaemon`. */
  async pid(where: 'foreground' | 'background'): Promise<number> {
    this.#inBackground = where === 'background';
    this.#pid = Number(await this.process.line(/^\d+$/, DEADLINE_MS, 'stdout'));
    return this.#pid;
  }

  /** Ends the daemon in the background. */
  async stopDaemon(): Promise<void> {
    if (this.#pid === null) throw new Error('it has not said its pid');
    await killPid(this.#pid, 'SIGTERM');
    this.#inBackground = false;
    await this.process.end();
  }

  /** What has to be ended whatever became of the case. */
  async tidy(): Promise<void> {
    if (this.#inBackground && this.#pid !== null) await killPid(this.#pid);
    if (this.#process !== null) await this.#process.kill();
    await this.server?.stop();
  }

  async until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    try {
      await until(`${this.name}: ${what}`, condition);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.#process?.output}\n${this.listing().join('\n')}`);
    }
  }

  untilEmpty(journal = 'journal'): Promise<void> {
    return this.until(`${journal} is empty`, () => readFileSync(this.path(journal)).length === 0);
  }

  untilGone(name: string): Promise<void> {
    return this.until(`${name} is gone`, () => !exists(this.path(name)));
  }

  untilThere(name: string): Promise<void> {
    return this.until(`${name} is there`, () => exists(this.path(name)));
  }

  /** The journal is empty, and so many requests have come and are over. */
  async untilSent(connections: number): Promise<void> {
    await this.untilReceived(connections);
    await this.untilEmpty();
  }

  /** It does nothing: a signal in the midst of its words makes the real one say them twice. */
  asleep(): Promise<void> {
    return this.until('it sleeps', () => {
      return /\) S /.test(readFileSync(`/proc/${this.process.pid}/stat`, 'latin1'));
    });
  }

  /** So many requests have come, and their clients have ended them. */
  untilReceived(connections: number): Promise<void> {
    return this.until(`${connections} connections`, () => {
      const ends = this.server?.ends ?? [];
      return ends.length >= connections && ends.every((end) => end !== null);
    });
  }

  get name(): string {
    return this.entry ?? 'bin/ssl';
  }

  outcome(): Outcome {
    return {
      code: this.code,
      stdout: this.mask(this.process.stdout).replace(/^\d+$/m, (number) => {
        return number === String(this.#pid) ? 'PID' : number;
      }),
      received: (this.server?.received() ?? []).map((bytes) => this.mask(bytes.toString('latin1'))),
      files: this.listing(),
    };
  }

  /** `name: content`, `name -> text of the link`, `name/`; hard links of one file share a number. */
  listing(): string[] {
    const inodes = new Map<number, string>();
    const lines: string[] = [];
    for (const name of readdirSync(this.dir, { recursive: true, encoding: 'utf8' }).sort()) {
      const path = this.path(name);
      const stat = lstatSync(path);
      if (stat.isDirectory()) lines.push(`${name}/`);
      else if (stat.isSymbolicLink()) lines.push(`${name} -> ${this.mask(readlinkSync(path))}`);
      else {
        const first = inodes.get(stat.ino);
        inodes.set(stat.ino, first ?? name);
        const content = first === undefined ? readFileSync(path, 'latin1') : `= ${first}`;
        lines.push(`${name}: ${this.mask(content)}`);
      }
    }
    return lines.sort();
  }
}

/** Nobody listens there. */
const UNUSED_PORT = 1;

/** Also a link that leads nowhere. */
function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
