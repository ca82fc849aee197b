import { readFileSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * Outlives the chaos program for a moment, however that ended: its standard input is a pipe from
 * it, and at the pipe's end this process kills what is left and removes the directory.
 *
 *     dir PATH    to be removed          keep         not to be removed
 *     + PID START a process was started  - PID        it has ended
 */

/** When a process was started: its id may be another one's by now. '' where nobody can tell. */
export function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** SIGKILL for the very process that was meant. */
export function killOnly(pid: number, start: string): void {
  if (startTime(pid) !== start) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

async function main(): Promise<void> {
  const processes = new Map<number, string>();
  let dir = '';
  for await (const line of createInterface({ input: process.stdin })) {
    const [what = '', word = '', start = ''] = line.split(' ');
    if (what === 'dir') dir = line.slice('dir '.length);
    else if (what === 'keep') dir = '';
    else if (what === '+') processes.set(Number(word), start);
    else if (what === '-') processes.delete(Number(word));
  }
  for (const [pid, start] of processes) killOnly(pid, start);
  if (dir !== '') rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
