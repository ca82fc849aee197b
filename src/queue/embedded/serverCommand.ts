import { execFile } from 'node:child_process';
import { rename, symlink, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { RedisServer } from './findServer.js';
import type { Places } from './places.js';

export interface ServerCommand {
  command: string;
  args: string[];
}

/**
 * The command line of the private server: no TCP port, every write on disk before its answer,
 * nothing ever evicted.
 *
 * `setpriv` makes the kernel end the server when its keeper is killed. It passes the program's
 * path on as `argv[0]`, so a server under another name is reached through a link with the right one.
 */
export async function serverCommand(server: RedisServer, places: Places): Promise<ServerCommand> {
  let program = server.program;
  if (basename(program) !== server.name) {
    program = join(places.dataDir, server.name);
    await replaceLink(server.program, program);
  }
  const args = [
    ...['--port', '0'],
    ...['--unixsocket', places.socketPath],
    ...['--unixsocketperm', '600'],
    ...['--dir', places.dataDir],
    ...['--logfile', places.serverLog],
    ...['--appendonly', 'yes'],
    ...['--appendfsync', 'always'],
    ...['--save', ''],
    ...['--maxmemory-policy', 'noeviction'],
    ...['--daemonize', 'no'],
  ];
  if (await hasParentDeathSignal()) {
    return { command: 'setpriv', args: ['--pdeathsig', 'TERM', '--', program, ...args] };
  }
  return { command: program, args };
}

async function replaceLink(target: string, link: string): Promise<void> {
  const draft = `${link}.new`;
  await unlink(draft).catch(() => undefined);
  await symlink(target, draft);
  await rename(draft, link);
}

/** Old versions of `setpriv` lack the option, and systems other than Linux lack `setpriv`. */
function hasParentDeathSignal(): Promise<boolean> {
  return new Promise((resolve) => {
    execFile('setpriv', ['--pdeathsig', 'TERM', '--', 'true'], (error) => resolve(error === null));
  });
}
