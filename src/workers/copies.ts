import {
  copyFile,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  unlink,
} from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { digestOfFile } from '../common/digest.js';
import { asError, FerryError, systemCode } from '../common/errors.js';
import { nodeFileSystem } from '../common/fileSystem.js';
import type { DirectoryDestination } from '../config/model.js';
import { leaseLost } from '../protocol/errors.js';
import type { BatchJob, BlobJob, BlobSent } from '../queue/jobs.js';

/**
 * Numbered copies of batches in directories of this host, as bin/ssl makes them: each batch gets
 * the number behind the highest one that is there; the second and further directories get a hard
 * link where the file system allows it.
 *
 *     planned (numbers noted, durable) -> written aside, synced -> linked in each directory -> done
 *
 * A kill at any moment repeats from the plan, with the same numbers; a file of that number and
 * content is then the one of the attempt before. So each batch is there once. A batch that is done
 * is known by its sequence and confirmed again without a copy.
 */
export class Copies {
  readonly #noteDir: string;

  constructor(stateDir: string) {
    this.#noteDir = join(stateDir, 'copies');
  }

  /**
   * @param mayCommit looked at right before the first copy gets its name
   * @throws FerryError COPY_DIRECTORY_MISSING (the others have their copy), COPY_FAILED
   */
  async putBatch(
    destination: DirectoryDestination,
    batch: BatchJob,
    chunks: AsyncIterable<Uint8Array>,
    mayCommit: () => boolean,
  ): Promise<void> {
    if (destination.directories.length === 0) return;
    try {
      await this.#put(destination.directories, batch, chunks, mayCommit);
    } catch (error) {
      if (error instanceof FerryError) throw error;
      throw new FerryError('COPY_FAILED', `a copy cannot be made: ${asError(error).message}`, {
        kind: 'storage',
        hint: `look at the rights and the room of ${destination.directories.join(', ')}`,
        context: { destination: destination.name },
        cause: error,
      });
    }
  }

  async #put(
    directories: readonly string[],
    batch: BatchJob,
    chunks: AsyncIterable<Uint8Array>,
    mayCommit: () => boolean,
  ): Promise<void> {
    const noteFile = join(this.#noteDir, `${encodeURIComponent(batch.route)}.json`);
    const note = await readNote(noteFile, batch.stream);
    if (batch.sequence <= note.done) return;
    const planned = note.sequence === batch.sequence ? note.files : {};
    const files = new Map<string, string>();
    const missing: string[] = [];
    for (const directory of directories) {
      const name = await this.#planned(planned[directory], directory, batch);
      if (name === null) missing.push(directory);
      else files.set(directory, name);
    }
    note.sequence = batch.sequence;
    note.files = Object.fromEntries(files);
    await mkdir(this.#noteDir, { recursive: true, mode: 0o700 });
    await writeNote(noteFile, note, { durable: true });

    const done = new Set<string>();
    for (const [directory, name] of files) {
      if (await isCopy(join(directory, name), batch)) done.add(directory);
    }
    // A directory that came late links to the copy that the others have had for long.
    const [there] = done;
    let first = there === undefined ? null : join(there, files.get(there) ?? '');
    for (const [directory, name] of files) {
      if (done.has(directory)) continue;
      if (first === null) await writeCopy(directory, name, batch, chunks, mayCommit);
      else await linkCopy(first, directory, name, batch);
      await nodeFileSystem.syncDirectory(directory);
      first ??= join(directory, name);
    }
    if (missing.length > 0) throw directoryMissing(missing);
    // Not synced: without it the plan above is found again, and its copies.
    note.done = batch.sequence;
    await writeNote(noteFile, note, { durable: false });
  }

  /** The number of an earlier attempt if it is still free or holds this batch, else the next one. */
  async #planned(
    earlier: string | undefined,
    directory: string,
    batch: BatchJob,
  ): Promise<string | null> {
    if (earlier !== undefined) {
      const path = join(directory, earlier);
      if ((await sizeOf(path)) === null || (await isCopy(path, batch))) return earlier;
    }
    return nextNumber(directory);
  }

  /** Makes the blob's link again in each directory, leading to the same file. */
  async putBlob(destination: DirectoryDestination, blob: BlobJob): Promise<BlobSent> {
    if (blob.payload.kind !== 'file') {
      throw new FerryError('COPY_NEEDS_FILE', 'a blob in Redis cannot be linked to', {
        kind: 'usage',
        hint: 'directories need payloads: spool',
      });
    }
    const blobsDir = dirname(blob.payload.path);
    const file = await stat(resolve(blobsDir, blob.text));
    const missing: string[] = [];
    for (const directory of destination.directories) {
      const path = join(directory, blob.link);
      const text = join(relative(directory, blobsDir), blob.text);
      await symlink(text, path).catch((error: unknown) => {
        if (systemCode(error) === 'EEXIST') return; // as bin/ssl: what is there stays
        if (systemCode(error) !== 'ENOENT') throw error;
        missing.push(directory);
      });
    }
    if (missing.length > 0) throw directoryMissing(missing);
    return { inode: file.ino, bytes: file.size, mtimeMs: file.mtimeMs, crc32: null };
  }
}

/** What a route has copied so far, in `state/copies/`. */
interface Note {
  stream: string;
  /** Every batch up to this one is in all directories. */
  done: number;
  /** The batch under way, and the names that are meant for it. */
  sequence: number;
  files: Record<string, string>;
}

async function readNote(path: string, stream: string): Promise<Note> {
  const fresh: Note = { stream, done: 0, sequence: 0, files: {} };
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return fresh;
  const note = JSON.parse(text) as Note;
  return note.stream === stream ? note : fresh;
}

async function writeNote(path: string, note: Note, how: { durable: boolean }): Promise<void> {
  const draft = `${path}.new`;
  const handle = await open(draft, 'w', 0o600);
  try {
    await handle.writeFile(JSON.stringify(note));
    if (how.durable) await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, path);
  if (how.durable) await nodeFileSystem.syncDirectory(dirname(path));
}

/** bin/ssl's: one more than the highest name that is a number. Null: there is no such directory. */
async function nextNumber(directory: string): Promise<string | null> {
  let max = 0;
  const names = await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return null;
    throw error;
  });
  if (names === null) return null;
  for (const name of names) if (/^[0-9]+$/.test(name)) max = Math.max(max, Number(name));
  return String(max + 1);
}

async function writeCopy(
  directory: string,
  name: string,
  batch: BatchJob,
  chunks: AsyncIterable<Uint8Array>,
  mayCommit: () => boolean,
): Promise<void> {
  const draft = draftIn(directory, batch);
  const handle = await open(draft, 'w', 0o666); // less the umask, as bin/ssl has it
  try {
    for await (const chunk of chunks) await handle.writeFile(chunk);
    await handle.sync();
    const { size } = await handle.stat();
    if (size !== batch.bytes) {
      throw new FerryError('PAYLOAD_MISMATCH', `${size} of ${batch.bytes} bytes were there`, {
        kind: 'storage',
        hint: 'look at the disk of the state directory',
      });
    }
  } finally {
    await handle.close();
  }
  if (!mayCommit()) throw leaseLost();
  // Fails if somebody else took the number meanwhile: the next attempt takes another.
  await link(draft, join(directory, name));
  await unlink(draft);
}

/** One per route, so that what a kill left is written over. */
function draftIn(directory: string, batch: BatchJob): string {
  return join(directory, `.${encodeURIComponent(batch.route)}.part`);
}

async function linkCopy(
  first: string,
  directory: string,
  name: string,
  batch: BatchJob,
): Promise<void> {
  const target = join(directory, name);
  try {
    await link(first, target);
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'EMLINK'].includes(systemCode(error) ?? '')) throw error;
    const draft = draftIn(directory, batch);
    await copyFile(first, draft);
    const handle = await open(draft, 'r+');
    await handle.sync().finally(() => handle.close());
    await link(draft, target);
    await unlink(draft);
  }
}

/** Whether the file is there and holds the very bytes of the batch. */
async function isCopy(path: string, batch: BatchJob): Promise<boolean> {
  if ((await sizeOf(path)) !== batch.bytes) return false;
  return (await digestOfFile(path)).sha256 === batch.sha256;
}

async function sizeOf(path: string): Promise<number | null> {
  return stat(path).then(
    ({ size }) => size,
    () => null,
  );
}

function directoryMissing(directories: readonly string[]): FerryError {
  return new FerryError(
    'COPY_DIRECTORY_MISSING',
    `there is no directory ${directories.join(', ')}`,
    {
      kind: 'storage',
      hint: 'make it; the batch waits until it has its copy there',
    },
  );
}
