import type { Child } from '../../chaos/household.js';
import type { Bench } from '../harness/lab.js';
import { descendants } from '../harness/usage.js';

export type Side = 'sender' | 'receiver';

/** One way to get a growing file to another place. */
export interface Contender {
  readonly name: string;
  readonly wire: string;
  /** Where a line is when the sender takes it for delivered. */
  readonly durability: string;
  /** What becomes of the file that was shipped. */
  readonly source: string;
  /** Debian's packages, for the report; and what of them is not here. */
  readonly packages: readonly string[];
  missing(): string[];
  /** Makes directories and settings; nothing runs yet. */
  prepare(bench: Bench): Promise<Pair>;
}

/** A sender and a receiver of one contender, in the directory of one measurement. */
export interface Pair {
  /** Lines are appended here. */
  readonly journal: string;
  /** Starts a side on what it left behind, and waits until it says that it runs, if it does. */
  start(side: Side): Promise<Child>;
  /** Size of all that has arrived. */
  receivedBytes(): number;
  /** All that has arrived, in the order of its arrival. */
  received(): Buffer;
}

/** The sides of a pair that run at present. */
export class Sides {
  readonly #pair: Pair;
  readonly #running = new Map<Side, Child>();

  constructor(pair: Pair) {
    this.#pair = pair;
  }

  async start(side: Side): Promise<void> {
    this.#running.set(side, await this.#pair.start(side));
  }

  /** SIGKILL to a side's process and to all that it has started, at once: Redis, rsync. */
  async kill(side: Side): Promise<void> {
    const child = this.#running.get(side);
    if (child === undefined) return;
    if (child.isOver) throw new Error(`the ${side} has ended by itself`);
    const others = descendants(child.pid);
    child.signal('SIGSTOP'); // so that it starts no more
    for (const pid of new Set([...others, ...descendants(child.pid)])) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    }
    await child.kill();
    this.#running.delete(side);
  }

  async end(): Promise<void> {
    for (const side of [...this.#running.keys()]) await this.kill(side).catch(() => undefined);
  }
}
