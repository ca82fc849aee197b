import { statfs } from 'node:fs/promises';
import { WHOLE_MAX_BYTES } from '../queue/payload/payloadStore.js';

/** A change so soon after another may get the same mtime, on any file system: FAT keeps 2 s. */
const COARSE_MS = 2_000;
/** The same where mtimes are taken from the kernel's clock as they are: it moves each 10 ms at least. */
const FINE_MS = 25;

/**
 * File systems of this host's kernel that keep nanoseconds: statfs(2) of ext4, XFS, Btrfs, tmpfs. ext2
 * and ext3 have the number of ext4, and keep whole seconds, as ext4 does with small inodes.
 */
const FINE_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994,
]);

/**
 * Whether a file that is changed from now on may keep its mtime, so that only its bytes can tell.
 *
 * @param path of it, or of its directory  @param facts of the open file
 * @param nowMs the wall clock
 */
export async function mayKeepMtime(
  path: string,
  { mtimeMs, bytes }: { mtimeMs: number; bytes: number },
  nowMs = Date.now(),
): Promise<boolean> {
  const ageMs = nowMs - mtimeMs;
  if (ageMs >= COARSE_MS) return false;
  // A digest of a small one costs no more than to ask.
  if (ageMs < FINE_MS || bytes <= WHOLE_MAX_BYTES || mtimeMs % 1_000 === 0) return true;
  const type = await statfs(path).then(
    (facts) => facts.type,
    () => 0,
  );
  return !FINE_FILE_SYSTEMS.has(type);
}
