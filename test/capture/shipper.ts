/**
 * A producer's heart as a process, to be killed at a crash point (`FERRY_CRASH_AT`). Writes
 * records as a database would, captures, settles, several times over; says what it has written.
 * Arguments: spool directory, journal, boot id, trimAbove (0: off), rounds of "numbers of records".
 */
import { appendFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { JournalCapture } from '../../src/producers/capture/capture.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { record } from '../support/journalWriter.js';

export const RECORD_BYTES_MAX = 20_000;

async function main(dir: string, path: string, bootId: string, trim: number, rounds: number[]) {
  const spool = await Spool.open(dir, { journal: 'foo', bootId });
  await spool.addRoute('r', { after: 0 });
  const trimAboveBytes = trim === 0 ? null : trim;
  const capture = new JournalCapture({ spool, path, trimAboveBytes, settleAfterMs: 60_000 });
  await capture.recover();
  let written = 0;
  for (const count of rounds) {
    for (let i = 0; i < count; i += 1) {
      written += 1;
      appendFileSync(path, record(written, RECORD_BYTES_MAX));
    }
    writeSync(1, `${written}\n`);
    await capture.capture();
    await capture.settle();
  }
  await capture.close();
  await spool.close();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir = '', path = '', bootId = '', trim = '0', ...rounds] = process.argv.slice(2);
  await main(dir, path, bootId, Number(trim), rounds.map(Number));
}
