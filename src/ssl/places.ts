import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Environment } from '../config/environment.js';

/** Marks the process that is to be the daemon, for the command that starts it. */
export const DAEMON_VARIABLE = 'FERRY_SSL_DAEMON';

/**
 * The state directory that all `ferry ssl` daemons of a user share: `FERRY_STATE`, else
 * `$XDG_STATE_HOME/journal-ferry`, else `~/.local/state/journal-ferry`. Absolute.
 */
export function sharedStateDir(env: Environment = process.env): string {
  const named = env['FERRY_STATE'] ?? '';
  if (named !== '') return resolve(named);
  const xdg = env['XDG_STATE_HOME'] ?? '';
  // The XDG specification: a relative path there is invalid and counts as none.
  const base = xdg.startsWith('/') ? xdg : join(homedir(), '.local/state');
  return join(base, 'journal-ferry');
}

/** What is known of the daemons of a state directory lies here. */
export function registryDir(stateDir: string): string {
  return join(stateDir, 'ssl');
}
