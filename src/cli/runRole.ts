import { asError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import { exitCodeOf } from './edge.js';

/** Whatever a command keeps running until it is told to stop. */
export interface Running {
  /** Ends it cleanly. Called once. */
  stop(): Promise<void>;
  /** Reads files again that the operator may have replaced: SIGHUP. */
  reload?(): Promise<void>;
  /** When something was last done, `performance.now()`; for `--idle-exit`. */
  lastActiveAt?(): number;
  /** Rejects when it cannot go on. */
  failed?: Promise<never>;
}

export interface RunOptions {
  logger: Logger;
  /** End by ourselves after so long without work. */
  idleExitMs?: number | undefined;
}

/** A service manager waits 10 s for us; what is left is for writing the last lines. */
const STOP_TIMEOUT_MS = 9_500;

const IDLE_LOOKS = 10;
const IDLE_LOOK_MIN_MS = 20;
const IDLE_LOOK_MAX_MS = 1_000;

/**
 * Runs a role until a signal, idleness or its own failure ends it, and then ends the process.
 *
 *     starting -> running -> stopping -> exit
 *
 * A signal during the start waits for the start's end; a second one ends the process at once,
 * which is safe at any moment, as a crash is. Exit code 0: stopped cleanly; 1: failed, or did not
 * stop in time; 2: the configuration made the start impossible.
 */
export async function runRole(options: RunOptions, start: () => Promise<Running>): Promise<never> {
  const { logger } = options;
  let askStop: (why: string) => void = () => undefined;
  const stopAsked = new Promise<string>((resolve) => {
    askStop = resolve;
  });
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      signals += 1;
      if (signals > 1) {
        logger.warn(`${signal} again: ending at once`);
        process.exit(1);
      }
      logger.info(`${signal}: stopping`);
      askStop(signal);
    });
  }
  let running: Running | null = null;
  // The terminal may be gone; what is to be shipped is not.
  process.on('SIGHUP', () => {
    const reloading = running?.reload?.();
    logger.info(reloading === undefined ? 'SIGHUP: going on' : 'SIGHUP: reading files again');
    reloading?.catch((error: unknown) => {
      logger.error({ err: asError(error) }, 'not reloaded: going on as before');
    });
  });
  const bug = (error: unknown): never => {
    logger.fatal({ err: asError(error) }, 'a bug: ending');
    process.exit(1);
  };
  process.on('uncaughtException', bug);
  process.on('unhandledRejection', bug);

  try {
    running = await start();
  } catch (error) {
    logger.fatal({ err: asError(error) }, 'cannot start');
    process.exit(exitCodeOf(error));
  }

  let exitCode: 0 | 1 | 2 = 0;
  const failure = running.failed?.catch((error: unknown) => {
    logger.fatal({ err: asError(error) }, 'cannot go on');
    exitCode = exitCodeOf(error);
  });
  const idleTimer = watchIdle(running, options.idleExitMs, () => {
    logger.info('nothing to do: stopping');
    askStop('idle');
  });
  await Promise.race([stopAsked, ...(failure === undefined ? [] : [failure])]);
  clearInterval(idleTimer);

  const timeout = setTimeout(() => {
    logger.fatal(`not stopped within ${STOP_TIMEOUT_MS} ms: ending at once`);
    process.exit(1);
  }, STOP_TIMEOUT_MS);
  try {
    await running.stop();
  } catch (error) {
    logger.error({ err: asError(error) }, 'not stopped cleanly');
    process.exit(1);
  }
  clearTimeout(timeout);
  logger.info('stopped');
  process.exit(exitCode);
}

function watchIdle(
  running: Running,
  idleExitMs: number | undefined,
  onIdle: () => void,
): NodeJS.Timeout | undefined {
  const { lastActiveAt } = running;
  if (idleExitMs === undefined || lastActiveAt === undefined) return undefined;
  const lookMs = Math.min(Math.max(idleExitMs / IDLE_LOOKS, IDLE_LOOK_MIN_MS), IDLE_LOOK_MAX_MS);
  return setInterval(() => {
    if (performance.now() - lastActiveAt.call(running) >= idleExitMs) onIdle();
  }, lookMs);
}
