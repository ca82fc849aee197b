import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FERRY } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

/** Only root can be somebody else. */
export const canBeStranger = process.getuid?.() === 0;

/**
 * The command line that runs `ferry` as somebody else. Where he cannot reach it, because the clone
 * or Node lies below a directory of root's own (`/root`, say), he gets a copy.
 */
export function ferryAsStranger(): string[] {
  return [...NOBODY, reachable(process.execPath, copyOfNode), reachable(FERRY, copyOfFerry)];
}

function reachable(file: string, copied: () => string): string {
  const [program = '', ...args] = [...NOBODY, 'test', '-r', file];
  return spawnSync(program, args).status === 0 ? file : copied();
}

function publicDir(): string {
  const dir = tempDir();
  chmodSync(dir, 0o755);
  return dir;
}

function copyOfNode(): string {
  const copy = join(publicDir(), 'node');
  copyFileSync(process.execPath, copy);
  chmodSync(copy, 0o755);
  return copy;
}

/** What an installation has: the compiled sources, the package's description, what it needs. */
function copyOfFerry(): string {
  const dir = publicDir();
  const lock = readFileSync(join(ROOT, 'package-lock.json'), 'utf8');
  const { packages } = JSON.parse(lock) as { packages: Record<string, { dev?: boolean }> };
  const needed = Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true && existsSync(join(ROOT, path)))
    .map(([path]) => path);
  for (const path of ['dist/src', 'package.json', ...needed]) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    cpSync(join(ROOT, path), join(dir, path), { recursive: true, dereference: true });
  }
  return join(dir, relative(ROOT, FERRY));
}
