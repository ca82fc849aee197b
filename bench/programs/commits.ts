/**
 * Commits into many journals, one after the other, as fast as asked: each append under the lock
 * of its journal, every journal open all the time.
 *
 *     usage: commits DIR JOURNALS COMMITS BYTES RATE
 *     COMMITS in all; RATE per second, 0 for as fast as it goes
 *     prints: {"seconds":N} when it is done
 */
import { randomFillSync } from 'node:crypto';
import { constants, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import { endWithParent } from '../../chaos/program.js';

/** Commits between two looks at the clock. */
const STRIDE = 16;

endWithParent();
const [dir = '', ...numbers] = process.argv.slice(2);
const [journals = 1, commits = 1, bytes = 1, rate = 0] = numbers.map(Number);
const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;
const files = Array.from({ length: journals }, (_, n) =>
  openSync(join(dir, `j${n + 1}`), flags, 0o600),
);
const record = randomFillSync(Buffer.alloc(bytes));
const begun = performance.now();
for (let n = 0; n < commits; n += 1) {
  const fd = files[n % journals] ?? 0;
  while (!tryLock(fd)) await nextTurn();
  writeSync(fd, record);
  unlock(fd);
  if (rate > 0 && n % STRIDE === 0) {
    const aheadMs = (n / rate) * 1_000 - (performance.now() - begun);
    if (aheadMs >= 1) await sleep(aheadMs);
  }
}
console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1_000 }));
process.exit(0);
