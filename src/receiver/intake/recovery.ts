import { constants } from 'node:fs';
import { join } from 'node:path';
import { FerryError, systemCode } from '../../common/errors.js';
import type { FileSystem } from '../../common/fileSystem.js';
import { readFully } from '../../common/readFully.js';
import type { BatchRecord } from '../batchRecord.js';
import { batchFileName } from '../batchStore.js';
import { makeFolder } from '../dataFolder.js';
import { RecordLog } from '../recordLog.js';
import { writeFully } from '../writing.js';
import type { Leftover } from './leftovers.js';

/** Files that are looked at, and synced, at once. */
const FILES_AT_ONCE = 8;
/** Removed by the store when it opens, whenever it comes back. */
const MADE_AGAIN = 'again-';
const { O_CREAT, O_NOFOLLOW, O_RDONLY, O_TRUNC, O_WRONLY } = constants;

/** What was made again. */
export interface Recovered {
  records: number;
  files: number;
}

/**
 * Brings one app to where its intake says that it is: index and files, durably. It can be repeated,
 * from any point where it was broken off.
 *
 * @param folder of the app
 * @throws FerryError INDEX_DAMAGED: the index lacks what was durable in it
 */
export async function recoverApp(
  folder: string,
  app: string,
  leftovers: readonly Leftover[],
  fs: FileSystem,
): Promise<Recovered> {
  for (const name of ['batches', 'tmp']) await makeFolder(fs, join(folder, name));
  const path = join(folder, 'index.log');
  const first = leftovers[0]?.record.number ?? 0;
  const known = new Map<number, BatchRecord>();
  let last = 0;
  const index = await RecordLog.beginning<BatchRecord>(path, fs, (record) => {
    last = record.number;
    if (record.number >= first) known.set(record.number, record);
  });
  const parts = new Set(await fs.readdir(join(folder, 'tmp')));
  const batches = new Set(await fs.readdir(join(folder, 'batches')));
  const lacking: BatchRecord[] = [];
  const held: Leftover[] = [];
  let refused = '';
  for (const one of leftovers) {
    const { record, segment, data } = one;
    if (segment === refused) continue;
    const inIndex = known.get(record.number);
    const isThere = () => parts.has(record.part) || batches.has(batchFileName(record.number));
    if (inIndex === undefined ? data === null && !isThere() : !isSame(inIndex, record)) {
      // What a failed sync has left, with all that stands behind it in its segment: it was refused,
      // and its number or its part are no longer its own.
      refused = segment;
      continue;
    }
    if (inIndex === undefined) {
      if (record.number !== last + 1) throw indexShort(path, app, last, record.number);
      last = record.number;
      lacking.push(record);
    }
    held.push(one);
  }
  if (index.numberBehind > last) throw indexShort(path, app, last, index.numberBehind);
  await RecordLog.mend(path, fs, index.end, lacking);
  let files = 0;
  const left = [...held];
  const some = async (): Promise<void> => {
    for (let one = left.pop(); one !== undefined; one = left.pop()) {
      if (one.data !== null && (await makeFile(folder, one.record, one.data, fs))) files += 1;
    }
  };
  await Promise.all(Array.from({ length: FILES_AT_ONCE }, some));
  await fs.syncDirectory(join(folder, 'batches'));
  return { records: lacking.length, files };
}

function isSame(one: BatchRecord, other: BatchRecord): boolean {
  return one.part === other.part && one.sha256 === other.sha256;
}

/** Durable afterwards. @returns whether it had to be written */
async function makeFile(
  folder: string,
  record: BatchRecord,
  data: Buffer,
  fs: FileSystem,
): Promise<boolean> {
  const path = join(folder, 'batches', batchFileName(record.number));
  if (await isWhole(path, data, fs)) return false;
  const fresh = join(folder, 'tmp', `${MADE_AGAIN}${record.part}`);
  const handle = await fs.open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  try {
    await writeFully(handle, [data], 0);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await fs.rename(fresh, path);
  return true;
}

/** What is there may be in the page cache only: when it is right it is synced. */
async function isWhole(path: string, data: Buffer, fs: FileSystem): Promise<boolean> {
  let handle: Awaited<ReturnType<FileSystem['open']>>;
  try {
    handle = await fs.open(path, O_RDONLY);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
  try {
    if ((await handle.stat()).size !== data.length) return false;
    const into = Buffer.allocUnsafe(data.length);
    if ((await readFully(handle, into, into.length, 0)) < into.length) return false;
    if (!into.equals(data)) return false;
    await handle.datasync();
    return true;
  } finally {
    await handle.close();
  }
}

function indexShort(path: string, app: string, last: number, next: number): FerryError {
  return new FerryError(
    'INDEX_DAMAGED',
    `${path} ends at batch ${last}, and the next that was accepted is ${next}`,
    {
      kind: 'storage',
      hint: `restore the data folder from a backup; if the folder of ${app} was replaced on purpose while the receiver was not stopped cleanly, move receiver.intake away`,
    },
  );
}
