import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

const LINE_DEADLINE_MS = 30_000;

/** A child process whose output can be waited for. */
export class DemoProcess {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  #output = '';
  #onOutput: () => void = () => undefined;

  constructor(script: string, args: readonly string[], cwd: string) {
    this.#child = spawn(process.execPath, [script, ...args], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.#child, 'exit');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
        this.#onOutput();
      });
    }
  }

  /** The first match in all that was printed so far or will be. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = AbortSignal.timeout(LINE_DEADLINE_MS);
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match !== null) return match;
      if (deadline.aborted || this.#child.exitCode !== null) {
        throw new Error(`waited for ${pattern}; the process printed:\n${this.#output}`);
      }
      await new Promise<void>((resolve) => {
        this.#onOutput = resolve;
        deadline.addEventListener('abort', () => resolve(), { once: true });
        this.#child.once('exit', () => resolve());
      });
    }
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
