import type { Logger } from 'pino';
import type { Meter } from './meter.js';
import type { StartProgress } from './progress.js';

/** A running role of the pipeline: producer, worker, receiver. */
export interface Role {
  /** Ends it cleanly: nothing is lost, everything is closed. Safe to call twice. */
  stop(): Promise<void>;
  /** When the role last had something to do, `performance.now()`: for `--idle-exit`. */
  lastActiveAt(): number;
  /** Rejects when the role cannot go on (another producer took its lock). Never resolves. */
  readonly failed: Promise<never>;
  /** What this role needs besides Redis in order to work, as it stands now. */
  readiness(): readonly ReadyCheck[];
  /** Of a producer: how its journals and their routes stand now, from memory. */
  journals?(): Iterable<JournalGauges>;
}

/** One thing that a role needs in order to work. */
export interface ReadyCheck {
  name: string;
  ok: boolean;
  /** What is so, or what is missing: one sentence. */
  message: string;
}

export interface JournalGauges {
  journal: string;
  /** Segments, batch files and a copy in the making. */
  spoolBytes: number;
  /** Payload that some route has not confirmed: what `limits.spool` limits. */
  waitingBytes: number;
  /** `limits.spool` */
  limitBytes: number;
  /** Null: there is none, or it was not looked at yet. */
  archive: { batches: number; bytes: number } | null;
  routes: readonly {
    route: string;
    batches: number;
    bytes: number;
    /** Null: nothing waits. */
    oldestSealedAtMs: number | null;
    blocked: boolean;
    /** Redis and the spool chained the digests of what is confirmed to different ends. */
    chainDiffers: boolean;
  }[];
}

export interface RoleContext {
  logger: Logger;
  meter: Meter;
  /** Shows long work of the start. Default: nobody looks. */
  progress?: StartProgress;
}

/** The embedded Redis, as one of its users holds it. */
export interface RedisHandle {
  socketPath: string;
  /** Which server program it is and who started it: for the operator. */
  how: string;
  /** The server ends when its last user has released it. */
  release(): Promise<void>;
}
