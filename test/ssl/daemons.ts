/** Daemons of ours as a user has them: in the background, sharing a state directory. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { operated } from '../../src/ssl/daemons.js';
import type { RouteStatus, StatusReport } from '../../src/status/report.js';
import { readStatusOfAll } from '../../src/status/status.js';
import { atEnd } from '../support/atEnd.js';
import { testCerts } from '../support/certs.js';
import {
  FERRY_SSL,
  isAlive,
  killPid,
  type Result,
  runFerry,
  start,
  type TestProcess,
  until,
} from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const silent = pino({ level: 'silent' });

/** Starting and ending a Redis and a Node on a busy machine. */
const DEADLINE_MS = 60_000;

/** One user: a home with journals and keys, and the state directory of all daemons. */
export class User {
  readonly home = tempDir();
  readonly stateDir = join(tempDir(), 'state');
  readonly env: Readonly<Record<string, string | undefined>>;

  constructor(env: Readonly<Record<string, string | undefined>> = {}) {
    this.env = {
      FERRY_STATE: this.stateDir,
      SSL_CERT_FILE: testCerts().caFile,
      REDIS_URL: undefined,
      FERRY_DIALECT: undefined,
      ...env,
    };
    atEnd(() => this.endAll());
  }

  path(...parts: string[]): string {
    return join(this.home, ...parts);
  }

  /** Runs `ferry-ssl` to its end: the parent's, when the words are a daemon's. */
  async run(words: readonly string[]): Promise<Result> {
    const child = this.spawn(words);
    child.stdin.end();
    const exit = await child.end(DEADLINE_MS);
    return { ...exit, stdout: child.stdout, stderr: child.stderr };
  }

  /** Starts `ferry-ssl` and leaves it to the test. */
  spawn(words: readonly string[]): TestProcess {
    return start(process.execPath, [FERRY_SSL, ...words], { cwd: this.home, env: this.env });
  }

  /** Starts a daemon in the background whose words end in the minutes `0`, and answers its pid. */
  async daemon(words: readonly string[]): Promise<number> {
    const { code, stdout, stderr } = await this.run(words);
    if (code !== 0 || !/^\d+\n$/.test(stdout)) throw new Error(`no daemon: ${stdout}${stderr}`);
    return Number(stdout);
  }

  /** What `ferry status --json` prints, made in this process: tests look again and again. */
  async status(): Promise<StatusReport> {
    const env = { ...process.env, ...this.env };
    const { configs, areDaemons } = await operated(join(this.home, 'no.yaml'), env);
    const report = await readStatusOfAll(configs, silent, { areDaemons });
    return JSON.parse(JSON.stringify(report)) as StatusReport;
  }

  /** `ferry status` of this user, from a directory without a ferry.yaml. */
  async statusCommand(): Promise<StatusReport> {
    const result = await runFerry(['status', '--json'], { cwd: tempDir(), env: this.env });
    if (result.code !== 0) throw new Error(`status failed\n${result.stdout}${result.stderr}`);
    return JSON.parse(result.stdout) as StatusReport;
  }

  /** The only route of a user with one daemon. */
  async onlyRoute(): Promise<RouteStatus> {
    const { routes } = await this.status();
    const [route] = routes;
    if (route === undefined || routes.length > 1) throw new Error(JSON.stringify(routes));
    return route;
  }

  /** The daemons that live now. */
  daemonPids(): number[] {
    return pids().filter((pid) => {
      return commandLine(pid).includes('ferry-ssl') && environment(pid).includes(this.stateDir);
    });
  }

  /** The Redis servers of this state directory. */
  redisPids(): number[] {
    const program = /^\S*(?:redis|valkey)-(?:server|check-rdb) /;
    return pids().filter((pid) => {
      return program.test(commandLine(pid)) && workDir(pid).startsWith(this.stateDir);
    });
  }

  /** Everything that has to do with the state directory. */
  allPids(): number[] {
    return processesOf(this.stateDir);
  }

  redisEnded(): Promise<void> {
    return until('the shared Redis has ended', () => this.allPids().length === 0, DEADLINE_MS);
  }

  /** Every file and directory below the state directory. */
  stateFiles(): string[] {
    const names = readdirSync(this.stateDir, { recursive: true, encoding: 'utf8' });
    return [this.stateDir, ...names.map((name) => join(this.stateDir, name))].filter(
      (path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined,
    );
  }

  async endAll(): Promise<void> {
    // Daemons, and scripts with what they have started; the keeper has no such variable.
    const started = pids().filter((pid) => environment(pid).includes(this.stateDir));
    for (const pid of started) await killPid(pid);
    await this.redisEnded();
  }
}

/** Daemons, keepers and servers of a state directory. */
export function processesOf(stateDir: string): number[] {
  return pids().filter((pid) => {
    if (pid === process.pid) return false;
    return [commandLine(pid), environment(pid), workDir(pid)].some((text) =>
      text.includes(stateDir),
    );
  });
}

/** What a list of processes shows of it, its words divided by blanks; empty when it is gone. */
export function commandLine(pid: number): string {
  return readProc(pid, 'cmdline').replaceAll('\0', ' ').trim();
}

export function environment(pid: number): string {
  return readProc(pid, 'environ').replaceAll('\0', '\n');
}

/** The session that a process belongs to: its own pid if it left ours. */
export function sessionOf(pid: number): number {
  // Behind the name in parentheses: state, parent, process group, session.
  return Number(readProc(pid, 'stat').split(') ').at(-1)?.split(' ')[3]);
}

/** As `pgrep -f` finds them: a part of the command line, taken literally. */
export function pidsOf(part: string): number[] {
  return pids().filter((pid) => commandLine(pid).includes(part));
}

export function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readProc(pid, 'status'))?.[1]);
}

/** How many files and directories a process watches. */
export function inotifyWatches(pid: number): number {
  let count = 0;
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    count += [...readProc(pid, `fdinfo/${fd}`).matchAll(/^inotify /gm)].length;
  }
  return count;
}

function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(isAlive);
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return '';
  }
}

function workDir(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}
