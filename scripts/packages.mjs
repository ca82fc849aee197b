/** node_modules: installed when missing or made from another lock file, else left alone. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashFiles, ROOT, readStamp, run, say } from './shared.mjs';

const STAMP = join(ROOT, 'node_modules/.ferry-stamp');

export function ensurePackages() {
  const stamp = hashFiles([join(ROOT, 'package-lock.json')]);
  if (readStamp(STAMP) === stamp) return;
  // npm's own record is written at the end of an installation: one that was made by hand counts,
  // so that a developer who ran `npm ci` needs no registry again.
  if (!existsSync(STAMP) && existsSync(join(ROOT, 'node_modules/.package-lock.json'))) {
    if (installedMatchesLock()) {
      writeFileSync(STAMP, stamp);
      return;
    }
  }
  say('installing npm packages');
  // Under `npm test`, npm_execpath is the npm that runs us: the same one, whatever the PATH says.
  const npm = process.env.npm_execpath;
  const args = ['ci', '--no-audit', '--no-fund', '--include=dev', '--loglevel=error'];
  if (npm?.endsWith('.js')) run(process.execPath, [npm, ...args]);
  else run('npm', args);
  writeFileSync(STAMP, stamp);
}

/** Asks npm, which reads files only. */
function installedMatchesLock() {
  try {
    run('npm', ['ls', '--all', '--loglevel=silent']);
    return true;
  } catch {
    return false;
  }
}
