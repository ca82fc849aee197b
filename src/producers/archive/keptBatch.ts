import { link, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { digestIfThere } from '../../common/digest.js';
import { systemCode } from '../../common/errors.js';
import { nodeFileSystem } from '../../common/fileSystem.js';
import { batchName } from '../spool/load.js';
import type { Spool } from '../spool/spool.js';
import type { SpoolBatch } from '../spool/types.js';
import { archiveDir } from './archiveFiles.js';

/** The file that keeps a batch that was given up. */
export function keptPath(stateDir: string, journal: string, sequence: number): string {
  return join(archiveDir(stateDir, journal), batchName(sequence));
}

/** Enough of a digest to tell two files of one number apart. */
const DIGEST_IN_NAME = 8;

/**
 * Keeps the bytes of a batch that is about to leave the spool. A batch that is a file of its own
 * gets a second name and is not copied; one that lies inside the log is. Durable when it resolves;
 * doing it again is harmless. A file of that number with other bytes (of an older spool) is
 * renamed, with the first digits of its SHA-256 in its name.
 *
 * @returns the file's path, mode 0600
 */
export async function keepBatch(
  spool: Spool,
  stateDir: string,
  batch: SpoolBatch,
): Promise<string> {
  const dir = archiveDir(stateDir, spool.journal);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const path = keptPath(stateDir, spool.journal, batch.sequence);
  if (await placeBatch(spool, path, batch)) {
    for (const each of [dir, dirname(dir), stateDir]) await nodeFileSystem.syncDirectory(each);
  }
  return path;
}

/** @returns false: it was there already */
async function placeBatch(spool: Spool, path: string, batch: SpoolBatch): Promise<boolean> {
  const there = (await digestIfThere(path))?.sha256 ?? null;
  if (there === batch.sha256) return false;
  if (there !== null) await rename(path, aside(path, there));
  await putBatch(spool, path, batch, { sync: true });
  return true;
}

/**
 * Gives the bytes of a held batch a name in the archive, in place of what has it: a second one for
 * a batch that is a file of its own, where the file system has such, else that of a copy. With
 * `sync` a copy's bytes are durable; the name never is.
 */
export async function putBatch(
  spool: Spool,
  path: string,
  batch: SpoolBatch,
  { sync }: { sync: boolean },
): Promise<void> {
  const part = `${path}.part`;
  await unlink(part).catch(() => undefined); // of one that was killed half way
  const own = join(spool.dir, batchName(batch.sequence));
  const named = batch.location.file === batchName(batch.sequence) && (await linked(own, part));
  if (!named) await copy(spool, batch, part, sync);
  await rename(part, path);
}

function aside(path: string, digest: string): string {
  return path.replace(/\.batch$/, `.${digest.slice(0, DIGEST_IN_NAME)}.batch`);
}

/** False where the file system has no second names. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (['EPERM', 'EXDEV', 'ENOTSUP', 'EMLINK'].includes(systemCode(error) ?? '')) return false;
    throw error;
  }
}

async function copy(spool: Spool, batch: SpoolBatch, to: string, sync: boolean): Promise<void> {
  const from = await spool.openBatch(batch.sequence);
  try {
    const file = await open(to, 'wx', 0o600);
    try {
      for await (const chunk of from.read()) await file.appendFile(chunk);
      if (sync) await file.sync();
    } finally {
      await file.close();
    }
  } finally {
    await from.close();
  }
}
