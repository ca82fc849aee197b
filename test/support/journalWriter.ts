/**
 * A process that appends records to a journal as a database does: the lock around each commit,
 * one open file for ever. Run as a program it writes until its stdin ends; `JournalWriter` starts
 * and ends it. Records are numbered and differ in length, so that `checkRecords` can say what is
 * missing, doubled, torn or out of order.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { tryLock, unlock, waitForLock } from 'fs-native-extensions';

/** Record `number`: "#number length\n" and so many bytes that follow from the number. */
export function record(number: number, bytesMax: number): Buffer {
  const seed = createHash('sha256').update(String(number)).digest();
  const length = 1 + (seed.readUInt32LE(0) % bytesMax);
  const body = Buffer.alloc(length, seed);
  return Buffer.concat([Buffer.from(`#${number} ${length}\n`), body]);
}

/** Throws unless `bytes` are exactly records 1 to n in order. Returns n. */
export function checkRecords(bytes: Buffer, bytesMax: number): number {
  let at = 0;
  for (let number = 1; ; number += 1) {
    if (at === bytes.length) return number - 1;
    const expected = record(number, bytesMax);
    const found = bytes.subarray(at, at + expected.length);
    if (!found.equals(expected)) {
      throw new Error(`record ${number} at ${at} is ${found.subarray(0, 40).toString('latin1')}`);
    }
    at += expected.length;
  }
}

export interface WriterReport {
  records: number;
  bytes: number;
  longestWaitMs: number;
}

export interface WriterOptions {
  bytesMax: number;
  /** Number of the first record. Default 1. */
  first?: number;
  /** Ends by itself after so many records. */
  records?: number;
  /** Between commits, in ms. Default 0: only a turn of the event loop. */
  pauseMs?: number;
}

export class JournalWriter {
  readonly #child: ChildProcess;
  readonly #report: Promise<WriterReport>;

  constructor(path: string, { bytesMax, first = 1, records = 0, pauseMs = 0 }: WriterOptions) {
    const args = [
      fileURLToPath(import.meta.url),
      path,
      ...[bytesMax, first, records, pauseMs].map(String),
    ];
    this.#child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#report = this.#read();
  }

  /** Resolves when the first record is in the journal. */
  async started(): Promise<void> {
    if (this.#child.stdout !== null) await once(this.#child.stdout, 'readable');
  }

  /** Ends the writer after its commit. */
  async stop(): Promise<WriterReport> {
    this.#child.stdin?.end();
    return this.#report;
  }

  /** Resolves when it has written all its records. */
  finished(): Promise<WriterReport> {
    return this.#report;
  }

  async #read(): Promise<WriterReport> {
    let text = '';
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await once(this.#child, 'close');
    return JSON.parse(text.trim().split('\n').at(-1) ?? '') as WriterReport;
  }
}

async function main(
  path: string,
  bytesMax: number,
  first: number,
  records: number,
  pauseMs: number,
) {
  const fd = openSync(path, 'a+');
  let stopping = false;
  process.stdin.on('end', () => {
    stopping = true;
  });
  process.stdin.resume();
  const report: WriterReport = { records: 0, bytes: 0, longestWaitMs: 0 };
  while (!stopping && (records === 0 || report.records < records)) {
    const startedMs = performance.now();
    if (!tryLock(fd)) await waitForLock(fd);
    report.longestWaitMs = Math.max(report.longestWaitMs, performance.now() - startedMs);
    const data = record(first + report.records, bytesMax);
    let done = 0;
    while (done < data.length) done += writeSync(fd, data, done, data.length - done);
    unlock(fd);
    report.records += 1;
    report.bytes += data.length;
    if (report.records === 1) process.stdout.write('started\n');
    await sleep(pauseMs);
  }
  process.stdin.destroy();
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [path = '', ...numbers] = process.argv.slice(2);
  const [bytesMax = 100, first = 1, records = 0, pauseMs = 0] = numbers.map(Number);
  await main(path, bytesMax, first, records, pauseMs);
}
