import { readFileSync } from 'node:fs';

/**
 * Whether some process still owns the TCP socket that has these loopback ports at its own and at
 * its far end. A socket that was closed belongs to the kernel alone, whatever state it is in.
 */
export function isOwned(localPort: number, remotePort: number): boolean {
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(table, 'latin1').split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const [local, remote, inode] = [fields[1], fields[2], fields[9]];
      if (local === undefined || remote === undefined) continue;
      if (portOf(local) === localPort && portOf(remote) === remotePort) return inode !== '0';
    }
  }
  return false;
}

function portOf(address: string): number {
  return Number.parseInt(address.split(':')[1] ?? '', 16);
}
