import { appendFile } from 'node:fs/promises';
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
    | 'skip';
  route?: string;
  journal?: string;
  detail?: Readonly<Record<string, unknown>>;
}

/** Appends a line of JSON to `state/audit.log`, mode 0600. */
export async function audit(stateDir: string, entry: AuditEntry): Promise<void> {
  const line = JSON.stringify({ time: new Date().toISOString(), ...entry });
  await appendFile(join(stateDir, 'audit.log'), `${line}\n`, { mode: 0o600 });
}
