import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { FerryError } from '../common/errors.js';
import { resource } from '../common/resources.js';
import { within } from '../common/within.js';
import { type DaemonCall, maskedWords } from '../ssl/arguments.js';
import { openLog, START_LOG } from '../ssl/logFile.js';
import { DAEMON_VARIABLE, sharedStateDir } from '../ssl/places.js';

/**
 * So long the command waits for its daemon's word. Usually a second: the embedded Redis starts.
 * Redis may be reading a large file, then the daemon goes on by itself.
 */
const START_TIMEOUT_MS = 15_000;

/** A child with nothing to do ends in moments. */
const END_TIMEOUT_MS = 5_000;

/** How a start ended; what the daemon tells the command that started it. */
export type StartNews =
  | { is: 'ours' | 'running'; pid: number }
  /** It has not said anything yet, and may well run. */
  | { is: 'slow'; pid: number; message: string }
  | { is: 'failed'; message: string };

interface Order {
  words: readonly string[];
  call: DaemonCall;
}

/** The daemon's side: what it is to do, which a list of processes must not show. */
export async function wordsOfParent(): Promise<Order> {
  delete process.env[DAEMON_VARIABLE];
  const [order] = (await once(process, 'message')) as [Order];
  // The parent may be killed while we start.
  process.on('disconnect', () => undefined);
  return order;
}

/** The daemon's side: says how the start ended and lets the parent go. */
export async function tellParent(news: StartNews): Promise<void> {
  if (process.connected !== true) return;
  await new Promise<void>((resolve) => {
    process.send?.(news, undefined, undefined, () => resolve());
  });
  process.disconnect();
}

/** Starts the daemon in a session of its own and waits for its word. */
export async function startInBackground(
  words: readonly string[],
  call: DaemonCall,
): Promise<StartNews> {
  const stateDir = sharedStateDir();
  const log = openLog(stateDir, START_LOG);
  const program = fileURLToPath(resource('cli/ferry-ssl.cjs'));
  const child = spawn(process.execPath, [program, ...maskedWords(words)], {
    argv0: 'ferry-ssl',
    detached: true,
    stdio: ['ignore', log.fd, log.fd, 'ipc'],
    env: { ...process.env, [DAEMON_VARIABLE]: '1' },
  });
  const order: Order = { words, call };
  child.send(order, () => undefined); // a child that ended says so below
  const ended = once(child, 'exit');
  const news = await firstWord(child, log.path);
  // One that is no daemon is gone when its command is.
  if (news.is === 'failed' || news.is === 'running') await within(END_TIMEOUT_MS, ended);
  if (child.connected) child.disconnect();
  child.unref();
  return news;
}

function firstWord(child: ChildProcess, log: string): Promise<StartNews> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const message = `ferry: the daemon (pid ${child.pid}) is still starting; its log lies beside ${log}\n`;
      resolve({ is: 'slow', pid: child.pid ?? 0, message });
    }, START_TIMEOUT_MS);
    child.once('message', (news: StartNews) => {
      clearTimeout(timer);
      resolve(news);
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      const why = signal ?? `exit code ${code}`;
      reject(
        new FerryError('SSL_DAEMON_ENDED', `the daemon ended while it started (${why})`, {
          kind: 'internal',
          hint: `see ${log}`,
        }),
      );
    });
  });
}
