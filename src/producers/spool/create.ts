import { randomBytes } from 'node:crypto';
import type { FileSystem } from '../../common/fileSystem.js';
import { writeAll } from './handles.js';
import { batchName, type LoadedSpool, segmentName, spoolDamaged } from './load.js';
import { encodeRecord } from './record.js';
import { SpoolState } from './state.js';

/** Random: two streams never have the same one. */
export function newStreamId(): string {
  return randomBytes(16).toString('hex');
}

/**
 * Makes a spool in `dir` (0700), with a stream id of its own. Its first segment is not synced: nothing
 * depends on it before the first durable append.
 *
 * @throws FerryError SPOOL_DAMAGED: files of a spool are there, but no log
 */
export async function createSpool(
  dir: string,
  fileSystem: FileSystem,
  journal: string,
): Promise<LoadedSpool> {
  await fileSystem.mkdir(dir, { recursive: true, mode: 0o700 });
  for (const name of await fileSystem.readdir(dir)) {
    if (!/^\d{10}\.(log|batch)$/.test(name)) continue;
    // Only a first capture that never came to a seal leaves a copy without a log.
    if (name !== segmentName(1) && name !== batchName(1)) {
      throw spoolDamaged(dir, `it holds ${name} but no log`, { file: name });
    }
    await fileSystem.unlink(`${dir}/${name}`);
  }
  const state = new SpoolState();
  state.journal = journal;
  state.stream = newStreamId();
  const record = encodeRecord(state.checkpoint(), null, 0);
  const handle = await fileSystem.open(`${dir}/${segmentName(1)}`, 'wx', 0o600);
  try {
    await writeAll(handle, record, 0);
  } finally {
    await handle.close();
  }
  return {
    state,
    segment: 1,
    end: record.length,
    tornBytes: 0,
    durableEnd: 0,
    mustSync: false,
    inlineBytes: 0,
    files: new Map([[segmentName(1), record.length]]),
    strays: [],
  };
}
