import type { Logger } from 'pino';

/** A running role of the pipeline: producer, worker, receiver. */
export interface Role {
  /** Ends it cleanly: nothing is lost, everything is closed. Safe to call twice. */
  stop(): Promise<void>;
  /** When the role last had something to do, `performance.now()`: for `--idle-exit`. */
  lastActiveAt(): number;
  /** Rejects when the role cannot go on (another producer took its lock). Never resolves. */
  readonly failed: Promise<never>;
}

export interface RoleContext {
  logger: Logger;
}

/** The embedded Redis, as one of its users holds it. */
export interface RedisHandle {
  socketPath: string;
  /** Which server program it is and who started it: for the operator. */
  how: string;
  /** The server ends when its last user has released it. */
  release(): Promise<void>;
}
