import { appendFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

/** What is worth remembering for years: verdicts of operators, losses of Redis. */
export interface AuditEntry {
  event:
    | 'redis-loss'
    | 'new-stream'
    | 'foreign-stream'
    | 'chain-differs'
    | 'route-added'
    | 'route-orphaned'
    | 'route-renamed'
    | 'pause'
    | 'resume'
    | 'replay'
    | 'skip'
    /** A click on jobs in the Bull dashboard. */
    | 'jobs';
  route?: string;
  journal?: string;
  detail?: Readonly<Record<string, unknown>>;
}

/** Appends a line of JSON to `state/audit.log`, mode 0600. */
export async function audit(stateDir: string, entry: AuditEntry): Promise<void> {
  const line = JSON.stringify({ time: new Date().toISOString(), ...entry });
  // Of an operator's command it may be the first that is written there.
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await appendFile(join(stateDir, 'audit.log'), `${line}\n`, { mode: 0o600 });
}
