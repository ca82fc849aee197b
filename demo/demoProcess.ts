import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

const LINE_DEADLINE_MS = 30_000;

/** A child process whose output can be waited for. */
export class DemoProcess {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  #output = '';
  #ended = false;
  readonly #looks = new Set<(ended: boolean) => void>();

  constructor(script: string, args: readonly string[], cwd: string) {
    this.#child = spawn(process.execPath, [script, ...args], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.#child, 'close').then(() => {
      this.#ended = true;
      for (const look of [...this.#looks]) look(true);
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
        for (const look of [...this.#looks]) look(false);
      });
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The first match in all that was printed so far or will be. */
  line(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = (ended: boolean): void => {
        const match = pattern.exec(this.#output);
        if (match === null && !ended) return;
        clearTimeout(timer);
        this.#looks.delete(look);
        if (match !== null) resolve(match);
        else reject(new Error(`waited for ${pattern}; the process printed:\n${this.#output}`));
      };
      const timer = setTimeout(() => look(true), LINE_DEADLINE_MS);
      this.#looks.add(look);
      look(this.#ended);
    });
  }

  async exited(): Promise<void> {
    await this.#exit;
  }

  /** SIGKILL: no chance to tidy up. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** SIGTERM, when it still runs. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGTERM');
    }
    await this.#exit;
  }
}
