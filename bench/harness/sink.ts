import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Child, Household } from '../../chaos/household.js';

const PROGRAM = fileURLToPath(new URL('../programs/sink.js', import.meta.url));
const LOOK_MS = 2;

/** What the sink has seen, once: `atNs` on the clock of `process.hrtime`. */
export interface Arrival {
  atNs: bigint;
  kind: 'batch' | 'blob';
  bytes: number;
}

/** The sink's process, and what it has written down. */
export class Sink {
  readonly port: number;
  readonly child: Child;
  readonly #fd: number;
  readonly #arrivals: Arrival[] = [];
  /** One for all looks: a new one each time would cost the contenders processor time. */
  readonly #buffer = Buffer.allocUnsafe(1024 * 1024);
  #rest = '';

  private constructor(port: number, child: Child, fd: number) {
    this.port = port;
    this.child = child;
    this.#fd = fd;
  }

  static async start(household: Household, name: string, port: number): Promise<Sink> {
    const events = household.path(`${name}.events`);
    writeFileSync(events, '', { mode: 0o600 });
    const args = [
      PROGRAM,
      household.path('cert.pem'),
      household.path('cert.key'),
      events,
      `${port}`,
    ];
    const child = household.start(name, process.execPath, args, { cwd: household.dir });
    const bound = Number((await child.line(/"port":(\d+)/))[1]);
    return new Sink(bound, child, openSync(events, 'r'));
  }

  /** All that has arrived so far, in order. */
  get arrivals(): readonly Arrival[] {
    for (;;) {
      const length = readSync(this.#fd, this.#buffer, 0, this.#buffer.length, null);
      if (length === 0) return this.#arrivals;
      const lines = (this.#rest + this.#buffer.toString('latin1', 0, length)).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) {
        const [at = '0', kind, bytes] = line.split(' ');
        this.#arrivals.push({
          atNs: BigInt(at),
          kind: kind === 'blob' ? 'blob' : 'batch',
          bytes: Number(bytes),
        });
      }
    }
  }

  /** Waits until it holds, and returns what has arrived; fails at the deadline. */
  async until(
    what: string,
    holds: (arrivals: readonly Arrival[]) => boolean,
    deadlineMs: number,
  ): Promise<readonly Arrival[]> {
    const deadline = performance.now() + deadlineMs;
    for (;;) {
      const { arrivals } = this;
      if (holds(arrivals)) return arrivals;
      if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
      await sleep(LOOK_MS);
    }
  }

  async stop(): Promise<void> {
    await this.child.kill();
    closeSync(this.#fd);
  }
}
