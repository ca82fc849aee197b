import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';

/**
 * Stands for a database: appends commits to a journal, each under an exclusive lock of the whole
 * file, and announces blobs by symlinks after the commit.
 *
 * usage: writer JOURNAL BLOBDIR COMMITS BLOBS
 */
const [journal = '', blobDir = '', commits = '0', blobs = '0'] = process.argv.slice(2);
const total = Number(commits);
const every = Math.max(1, Math.floor(total / Math.max(1, Number(blobs))));

const PAUSE_MS = 12;
const COMMIT_BYTES_MAX = 4_000;

const hash = createHash('sha256');
let bytes = 0;
let announced = 0;
await mkdir(join(blobDir, 'files'), { recursive: true });
const file = await open(journal, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
for (let commit = 1; commit <= total; commit += 1) {
  const record = randomBytes(1 + Math.floor(Math.random() * COMMIT_BYTES_MAX));
  while (!tryLock(file.fd)) await sleep(1);
  await file.appendFile(record);
  unlock(file.fd);
  hash.update(record);
  bytes += record.length;
  if (commit % every === 0 && announced < Number(blobs)) {
    announced += 1;
    const name = `files/${announced}`;
    await writeFile(join(blobDir, name), randomBytes(20_000 + announced));
    await symlink(name, join(blobDir, `=${announced}.blob`));
  }
  process.stdout.write(`committed ${commit}\n`);
  await sleep(PAUSE_MS);
}
await file.close();
process.stdout.write(`written ${bytes} ${hash.digest('hex')}\n`);
