/** Which boot of the machine this is: marks that live in the page cache are believed in it only. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/**
 * Linux: the kernel's boot id. macOS: the time of boot. Elsewhere a fresh random id, so that
 * every start compares as after a power cut: slower and never wrong.
 */
export async function readBootId(): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  } catch {
    // Not Linux.
  }
  try {
    const { stdout } = await promisify(execFile)('sysctl', ['-n', 'kern.boottime']);
    const seconds = /sec = (\d+)/.exec(stdout)?.[1];
    if (seconds !== undefined) return `boottime-${seconds}`;
  } catch {
    // Not macOS either.
  }
  return randomUUID();
}
