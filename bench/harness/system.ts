import { existsSync } from 'node:fs';
import { createConnection } from 'node:net';
import { delimiter, join } from 'node:path';
import type { Child } from '../../chaos/household.js';

/** Whether a program is on the PATH. */
export function onPath(program: string): boolean {
  const dirs = (process.env['PATH'] ?? '').split(delimiter).filter((dir) => dir !== '');
  return dirs.some((dir) => existsSync(join(dir, program)));
}

/** Whether somebody takes connections at this loopback port; fails when `child` has ended. */
export function answers(port: number, child: Child): Promise<boolean> {
  if (child.isOver) throw new Error('it ended instead of listening; see its log');
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
