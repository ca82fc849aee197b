import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';

/** Whether a process runs; one that is dead and only waits to be collected does not. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    // The state follows the name, which stands in parentheses and may hold any character.
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    // Gone in between, or a system without /proc.
    return process.platform !== 'linux';
  }
}

/**
 * Servers that work for this socket although their keeper is gone. Two servers on one append-only
 * file would destroy it, so this looks at what runs, not only at what was written down.
 */
export async function findServers(socketPath: string, recorded: number | null): Promise<number[]> {
  const candidates = new Set<number>(recorded === null ? [] : [recorded]);
  if (process.platform === 'linux') {
    for (const entry of await readdir('/proc')) {
      if (/^\d+$/.test(entry)) candidates.add(Number(entry));
    }
  }
  const servers: number[] = [];
  for (const pid of candidates) {
    if (pid === process.pid || !(await isAlive(pid))) continue;
    const line = await commandLine(pid);
    if (line.includes(socketPath) && /^\S*(redis|valkey|setpriv)/.test(line)) servers.push(pid);
  }
  return servers;
}

/** The command line of a process, or an empty text when there is none. */
async function commandLine(pid: number): Promise<string> {
  if (process.platform === 'linux') {
    try {
      return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
    } catch {
      return '';
    }
  }
  return new Promise((resolve) => {
    execFile('ps', ['-ww', '-o', 'command=', '-p', String(pid)], (error, stdout) => {
      resolve(error === null ? stdout : '');
    });
  });
}

const POLL_MS = 20;

/** Waits for the end of a process that is not our child; false when the time is over. */
export async function waitForEnd(pid: number, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (await isAlive(pid)) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}

/** SIGTERM, and SIGKILL when that was not heard in time. */
export async function endProcess(pid: number, graceMs: number): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    if (await waitForEnd(pid, graceMs)) return;
  }
}
