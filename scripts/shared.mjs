/** What all scripts share: places, running programs, hash stamps. Node's own modules only. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
} from 'node:fs';
import { delimiter, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Programs that the set-up had to unpack lie here, and nowhere else in the machine. */
export const CACHE_DIR = join(ROOT, '.cache');

/** A problem with a sentence for people; no stack. */
export class SetupError extends Error {}

/** One line of progress. */
export function say(line) {
  console.log(`setup: ${line}`);
}

/** Runs a program and passes its output on when it fails. Quiet otherwise. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  });
  if (result.error) throw new SetupError(`cannot run ${command}: ${result.error.message}`);
  if (result.status !== 0) {
    const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim();
    throw new SetupError(
      `${[command, ...args].join(' ')} failed (${result.signal ?? `exit code ${result.status}`})${output === '' ? '' : `:\n${output}`}`,
    );
  }
  return result.stdout ?? '';
}

/** Runs a program with our own output and answers its exit code. */
export function runThrough(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    ...options,
  });
  if (result.error) throw new SetupError(`cannot run ${command}: ${result.error.message}`);
  return result.status ?? 1;
}

/** The program's file on the PATH, or null. */
export function which(program) {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    if (directory === '') continue;
    const file = join(directory, program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not here.
    }
  }
  return null;
}

/** Puts a directory in front of the PATH of this process and its children. */
export function usePath(directory) {
  const directories = (process.env.PATH ?? '').split(delimiter);
  if (!directories.includes(directory)) {
    process.env.PATH = [directory, ...directories].join(delimiter);
  }
}

/** SHA-256 over names and contents. Time stamps lie after a clone or an unpacked archive. */
export function hashFiles(files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${relative(ROOT, file)}\0`).update(readFileSync(file));
  return hash.digest('hex');
}

/** All files below a directory, sorted; none when there is no directory. */
export function filesBelow(directory) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** The text of a stamp file, or an empty one. */
export function readStamp(file) {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Runs a script's main part: problems with a sentence, and an exit code. */
export async function main(work) {
  try {
    process.exitCode = (await work()) ?? 0;
  } catch (error) {
    console.error(error instanceof SetupError ? `setup: ${error.message}` : error);
    process.exitCode = 1;
  }
}

/** Whether this script is the one that was started, not one that is imported. */
export function isMain(url) {
  // The real path, because the clone may be reached through a link.
  return process.argv[1] !== undefined && fileURLToPath(url) === realpathSync(process.argv[1]);
}
