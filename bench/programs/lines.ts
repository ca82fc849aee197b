/**
 * Appends numbered lines to one file, which it keeps open, each append under the fcntl lock: a
 * journal for ours, a log for the others.
 *
 *     usage: lines FILE FIRST COUNT RATE
 *     RATE per second; 0 for as fast as it goes, many with each append
 *     prints: {"begun":N} (nanoseconds of `process.hrtime`), and at its end {"last":NUMBER}
 *     SIGTERM: ends behind a whole line
 */
import { constants, openSync, writeSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import { line } from '../peers/lines.js';

/** Lines with one append when no rate is asked for. */
const BLOCK = 200;

const [file = '', ...numbers] = process.argv.slice(2);
const [first = 1, count = 1, rate = 0] = numbers.map(Number);
const fd = openSync(file, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
const parent = process.ppid;
let stopping = false;
process.on('SIGTERM', () => {
  stopping = true;
});
const begun = performance.now();
console.log(JSON.stringify({ begun: String(process.hrtime.bigint()) }));
let done = 0;
while (done < count && !stopping && process.ppid === parent) {
  const many = rate > 0 ? 1 : Math.min(BLOCK, count - done);
  const from = first + done;
  const bytes = Buffer.concat(Array.from({ length: many }, (_, n) => line(from + n)));
  while (!tryLock(fd)) await nextTurn();
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  unlock(fd);
  done += many;
  if (rate > 0) await sleep(Math.max(0, (done / rate) * 1_000 - (performance.now() - begun)));
}
console.log(JSON.stringify({ last: first + done - 1 }));
process.exit(0);
