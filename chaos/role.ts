import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Findings, say } from './findings.js';
import type { Child, Household } from './household.js';

const FERRY = fileURLToPath(new URL('../src/cli/ferry.cjs', import.meta.url));

/** As a service manager restarts what failed. */
const RESTART_MS = 1_000;
/** What `ferry` promises after SIGTERM, and a moment for a busy machine. */
const STOP_MS = 12_000;

export interface RoleParts {
  household: Household;
  findings: Findings;
  /** `worker2`; also the name of its log. */
  name: string;
  args: readonly string[];
  cwd: string;
  /** What it prints when it runs. */
  started: RegExp;
}

/**
 * One `ferry` process that should always run.
 *
 *     running --kill--> down --start--> running
 *     running --SIGSTOP--> standing --SIGCONT--> running
 *     running --ends by itself--> (a second later) running
 */
export class Role {
  readonly name: string;
  /** How often it ended although nobody had asked it to. */
  endedByItself = 0;
  readonly #p: RoleParts;
  #child: Child | null = null;
  #wanted = false;

  constructor(parts: RoleParts) {
    this.#p = parts;
    this.name = parts.name;
  }

  /** Starts it; resolves when it runs. */
  async start(): Promise<RegExpExecArray | null> {
    this.#wanted = true;
    const { household, name, args, cwd } = this.#p;
    const child = household.start(
      name,
      process.execPath,
      [FERRY, ...args, '--log-format', 'json', '--log-level', 'debug'],
      { cwd },
    );
    this.#child = child;
    void child.exit.then(() => this.#onExit(child));
    return child.line(this.#p.started).catch(() => null);
  }

  async kill(): Promise<void> {
    this.#wanted = false;
    await this.#child?.kill();
  }

  standStill(): void {
    this.#child?.signal('SIGSTOP');
  }

  goOn(): void {
    this.#child?.signal('SIGCONT');
  }

  /** SIGTERM; a finding when it does not end cleanly. */
  async stop(): Promise<void> {
    this.#wanted = false;
    if (this.#child === null || this.#child.isOver) return;
    const exit = await this.#child.stop(STOP_MS);
    if (exit?.code === 0) return;
    const how = exit === null ? `not within ${STOP_MS} ms` : `with ${exit.signal ?? exit.code}`;
    this.#p.findings.add('failures', `${this.name} ended ${how} after SIGTERM`);
  }

  async #onExit(child: Child): Promise<void> {
    if (!this.#wanted || child !== this.#child) return;
    this.endedByItself += 1;
    const { code, signal } = await child.exit;
    const last = child.ending.trim().split('\n').at(-1) ?? '';
    say(`${this.name} ended by itself with ${signal ?? code}: ${last.slice(0, 400)}`);
    if (/a bug: ending/.test(child.ending)) {
      this.#p.findings.add('failures', `${this.name} ended because of a bug; see its log`);
    }
    await sleep(RESTART_MS);
    if (this.#wanted && child === this.#child) await this.start();
  }
}
