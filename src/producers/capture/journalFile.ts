/** The journal as a file: opened for the lock, looked at by path and by descriptor. */
import { constants, fstatSync, type Stats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { asError, FerryError, systemCode } from '../../common/errors.js';
import type { FileSystem } from '../../common/fileSystem.js';
import { Haste } from '../../common/haste.js';
import type { OpenFile } from '../../common/openFile.js';

const looks = new Haste();

/** Size in bytes. Throws JOURNAL_MISSING, JOURNAL_NOT_READABLE, JOURNAL_NOT_A_FILE. */
export async function journalSize(path: string): Promise<number> {
  try {
    const stats = await looks.run(
      () => statSync(path),
      () => stat(path),
    );
    if (!stats.isFile()) throw notAFile(path);
    return stats.size;
  } catch (error) {
    throw journalError(path, error);
  }
}

/** Opens for reading and writing: an exclusive lock needs a writable descriptor. */
export async function openJournalFile(fileSystem: FileSystem, path: string): Promise<OpenFile> {
  try {
    return await fileSystem.open(path, constants.O_RDWR);
  } catch (error) {
    throw journalError(path, error);
  }
}

/** Closes the journal when it is first called; whoever calls it again gets the same answer. */
export function closerOf(journal: OpenFile): () => Promise<void> {
  let closed: Promise<void> | undefined;
  return () => {
    closed ??= journal.close();
    return closed;
  };
}

/**
 * The state of the file behind `fd`, or undefined when `path` no longer names it. Synchronous:
 * it is called under the lock, where a turn through the thread pool costs more than the call.
 */
export function statOpened(fd: number, path: string): Stats | undefined {
  const opened = fstatSync(fd);
  try {
    const named = statSync(path);
    return named.ino === opened.ino && named.dev === opened.dev ? opened : undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw journalError(path, error);
  }
}

function notAFile(path: string): FerryError {
  return new FerryError('JOURNAL_NOT_A_FILE', `${path} is not a regular file`, {
    kind: 'storage',
    hint: 'give the path of the journal itself',
    context: { path },
  });
}

function journalError(path: string, cause: unknown): Error {
  if (cause instanceof FerryError) return cause;
  const code = systemCode(cause);
  const context = { path };
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new FerryError('JOURNAL_MISSING', `there is no ${path}`, {
        kind: 'storage',
        hint: 'it is picked up as soon as its writer makes it',
        context,
        cause,
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new FerryError('JOURNAL_NOT_WRITABLE', `${path} cannot be opened for writing`, {
        kind: 'storage',
        hint: 'run as the user of its writer: locking and truncating need write permission',
        context,
        cause,
      });
    case 'EISDIR':
      return notAFile(path);
    default:
      return new FerryError('JOURNAL_NOT_READABLE', `${path}: ${asError(cause).message}`, {
        kind: 'storage',
        hint: 'check the file system of the journal',
        context,
        cause,
      });
  }
}
