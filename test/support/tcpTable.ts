import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './process.js';

/** Reading the kernel's table takes some milliseconds: all who wait share a look. */
const LOOK_EVERY_MS = 50;

let next: Promise<Set<string>> | null = null;

/**
 * Resolves when no process owns the TCP socket any more that has these loopback ports at its own
 * and at its far end. One that was closed belongs to the kernel alone, whatever state it is in.
 */
export async function untilClosed(localPort: number, remotePort: number): Promise<void> {
  await until('the socket is closed', async () => {
    next ??= look();
    return !(await next).has(`${localPort} ${remotePort}`);
  });
}

/** The sockets that somebody owns, a moment from now. */
async function look(): Promise<Set<string>> {
  await sleep(LOOK_EVERY_MS);
  next = null;
  const owned = new Set<string>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(table, 'latin1').split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const [local, remote, inode] = [fields[1], fields[2], fields[9]];
      if (local === undefined || remote === undefined || inode === '0') continue;
      owned.add(`${portOf(local)} ${portOf(remote)}`);
    }
  }
  return owned;
}

function portOf(address: string): number {
  return Number.parseInt(address.split(':')[1] ?? '', 16);
}
