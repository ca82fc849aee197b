import { setTimeout as sleep } from 'node:timers/promises';
import { FerryError, systemCode } from '../common/errors.js';
import { nodeFileSystem } from '../common/fileSystem.js';
import { type LoadedSpool, loadSpool } from '../producers/spool/load.js';
import type { SpoolView } from '../producers/spool/types.js';
import { SpoolSnapshot } from '../producers/spool/view.js';

export interface ReadSpool {
  /** Up to the damage, where there is any; null: nothing can be read. */
  view: SpoolView | null;
  /** What follows the last whole record: torn by a crash, or being written right now. */
  tornBytes: number;
  damage: FerryError | null;
}

/** Beside a producer a file may go away under the reader, and a record may be half written. */
const TRIES = 10;
/** A tail that stays torn for so many looks is not one that is being written. */
const TORN_TRIES = 4;
const PAUSE_MS = 50;

/** A spool as it stands, while its producer runs or not. Undefined: there is none. */
export async function readSpool(dir: string): Promise<ReadSpool | undefined> {
  for (let tries = 1; ; tries += 1) {
    try {
      const loaded = await loadSpool(dir, { fileSystem: nodeFileSystem, tolerant: false });
      if (!loaded?.tornBytes || tries >= TORN_TRIES) return read(loaded, null);
    } catch (error) {
      const damaged = error instanceof FerryError && error.code === 'SPOOL_DAMAGED';
      if (!damaged && systemCode(error) !== 'ENOENT') throw error;
      if (tries >= TRIES) {
        if (damaged) return upToDamage(dir, error);
        throw error;
      }
    }
    await sleep(PAUSE_MS);
  }
}

async function upToDamage(dir: string, damage: FerryError): Promise<ReadSpool | undefined> {
  try {
    return read(await loadSpool(dir, { fileSystem: nodeFileSystem, tolerant: true }), damage);
  } catch {
    return { view: null, tornBytes: 0, damage };
  }
}

function read(loaded: LoadedSpool | undefined, damage: FerryError | null): ReadSpool | undefined {
  if (loaded === undefined) return undefined;
  const { state, tornBytes } = loaded;
  return { view: new SpoolSnapshot(state, 0), tornBytes, damage };
}
