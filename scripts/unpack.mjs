/** A server program out of a Debian package, unpacked into the clone: the system stays as it is. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT, run, SetupError, say } from './shared.mjs';

/**
 * Downloads a package and the libraries that it lacks here, and makes `<dir>/bin/<name>`.
 *
 * @param {object} what
 * @param {string} what.dir everything goes there; emptied before
 * @param {string} what.packageName
 * @param {string} what.program the file in the package that is the server
 * @param {string} what.name what it must be called to be one
 * @param {string[]} [what.apt] options for apt, for package lists of our own
 */
export function unpackServer({ dir, packageName, program, name, apt = [] }) {
  say(`unpacking ${packageName} into ${relative(ROOT, dir)}`);
  const [root, downloads, bin] = ['root', 'downloads', 'bin'].map((part) => join(dir, part));
  for (const directory of [root, downloads, bin]) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
  }
  const names = [
    packageName,
    ...dependenciesOf(packageName, apt).filter((library) => !isInstalled(library)),
  ];
  try {
    run('apt-get', ['download', '-q', ...apt, ...names], { cwd: downloads });
  } catch (error) {
    throw new SetupError(
      `cannot download ${names.join(' ')} (are there package lists? \`apt-get update\` as root makes them)\n${error.message}`,
    );
  }
  for (const file of readdirSync(downloads)) run('dpkg', ['-x', join(downloads, file), root]);
  rmSync(downloads, { recursive: true });
  const server = join(root, 'usr/bin', name);
  if (!existsSync(server)) symlinkSync(program, server);
  // None when the system has them all.
  const libraryDir = join(root, 'usr/lib');
  const libraries = existsSync(libraryDir)
    ? [libraryDir, ...readdirSync(libraryDir).map((sub) => join(libraryDir, sub))]
    : [];
  // The wrapper comes last: it is what tells the next run that all is there.
  writeFileSync(
    join(bin, name),
    `#!/bin/sh\nexport LD_LIBRARY_PATH='${libraries.join(':')}'\nexec '${server}' "$@"\n`,
    { mode: 0o755 },
  );
}

/** The libraries that a package is linked with. */
function dependenciesOf(name, apt) {
  const output = run('apt-cache', [...apt, 'depends', '--important', name]);
  return [...output.matchAll(/^\s*(?:Pre)?Depends: (lib[a-z0-9.+-]+)$/gm)].map((match) => match[1]);
}

function isInstalled(name) {
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f', '$' + '{Status}', name], {
    encoding: 'utf8',
  });
  return /ok installed/.test(stdout ?? '');
}
