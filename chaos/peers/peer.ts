import type { Ledger } from '../ledger.js';
import type { Source } from '../writer.js';

/** Redis may have forgotten something. `at`: when it answered again; until then infinite. */
export interface Loss {
  at: number;
}

export interface Progress {
  done: boolean;
  /** Anything that changes while things move. */
  mark: string;
}

export interface PeerCounts {
  batches: number;
  bytes: number;
  blobs: number;
  /** Sends of what was counted already, directly behind itself. */
  repeats: number;
  /** Sends again after a loss of Redis, each from some batch up to the last. */
  rewinds: number;
  /** Sends of n - 1 and n once more, after an answer to n that nobody heard and an outage. */
  stepsBack: number;
}

/** How a destination goes away and comes back. */
export interface Outage {
  down(): Promise<void>;
  up(): Promise<void>;
}

/** That of a server in this process, which the ledger is told of. */
export function toldOutage(server: { down(): void; up(): Promise<void> }, ledger: Ledger): Outage {
  return {
    async down() {
      ledger.destinationDown();
      server.down();
    },
    async up() {
      await server.up();
      ledger.destinationUp();
    },
  };
}

/** A destination, with what is written for it and how it is checked. */
export interface Peer {
  /** Fields of the destination in `ferry.yaml`. */
  readonly destination: string;
  /** Entries of `journals:`, each a YAML flow mapping. */
  readonly journals: readonly string[];
  /** The destination goes away and comes back; absent where that is not ours to judge. */
  readonly outage?: Outage;
  /** SIGKILL and start again; absent where there is no process of ours. */
  readonly crash?: { kill(): Promise<void>; start(): Promise<void> };
  /** Begins to write. */
  write(): Source[];
  redisLost(): Loss;
  /** No more hesitation: the rest is to be delivered soon. */
  calm(): void;
  /** Whether all that was written has arrived. Asked when nobody writes any more. */
  progress(): Promise<Progress>;
  /** Compares what was written with what arrived; the differences become findings. */
  check(): Promise<void>;
  counts(): PeerCounts;
  stop(): Promise<void>;
}

/** Journals differ: adaptive batching, many batches waiting, pieces given back before the lock. */
export function journalFlavour(number: number): string {
  if (number % 3 === 1) return ', flush: {maxBytes: 4KiB}';
  if (number % 3 === 2) return ', flush: {trimAbove: 256KiB}';
  return '';
}
