/**
 * Seals batches in spools that no producer has, as captures would have: what waits when a producer
 * starts. Without their syncs, since nobody measures this and nothing of it outlives a run; they
 * are all made good by one at the end.
 *
 *     usage: seal STATE PREFIX JOURNALS BATCHES BYTES
 *     BATCHES of each journal; the journals are called PREFIX1 and so on, their route is `replica`
 *     prints: {"sealed":N} when it is done
 */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { endWithParent } from '../../chaos/program.js';
import { type FileSystem, nodeFileSystem } from '../../src/common/fileSystem.js';
import type { OpenFile } from '../../src/common/openFile.js';
import { readBootId } from '../../src/producers/capture/bootId.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { spoolDir } from '../../src/producers/spoolFiles.js';

const nothing = async (): Promise<void> => undefined;
const hasty: FileSystem = {
  ...nodeFileSystem,
  async open(path, flags, mode): Promise<OpenFile> {
    return Object.assign(await nodeFileSystem.open(path, flags, mode), {
      sync: nothing,
      datasync: nothing,
    });
  },
  syncDirectory: nothing,
};

endWithParent();
const [state = '', prefix = '', ...numbers] = process.argv.slice(2);
const [journals = 1, batches = 1, bytes = 1] = numbers.map(Number);
const bootId = await readBootId();
for (let n = 1; n <= journals; n += 1) {
  const journal = `${prefix}${n}`;
  const spool = await Spool.open(spoolDir(state, journal), { journal, bootId, fileSystem: hasty });
  await spool.addRoute('replica', { after: 0 });
  for (let sequence = 1; sequence <= batches; sequence += 1) {
    const payload = randomBytes(bytes);
    const sha256 = createHash('sha256').update(payload).digest('hex');
    await spool.seal({ sequence, bytes, sha256, inode: 1, payload });
    spool.publish();
    await spool.recordTruncated(sequence);
  }
  await spool.close();
}
execFileSync('sync', ['--file-system', state]);
console.log(JSON.stringify({ sealed: journals * batches }));
process.exit(0);
