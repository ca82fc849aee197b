import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FerryError, systemCode } from '../common/errors.js';
import { nodeFileSystem } from '../common/fileSystem.js';
import type { BatchRecord } from '../receiver/batchRecord.js';
import { batchFileName } from '../receiver/batchStore.js';
import type { Leftover } from '../receiver/intake/leftovers.js';
import { RecordLog } from '../receiver/recordLog.js';
import type { ChainLine } from './chainLine.js';
import type { Findings, OnBytes } from './findings.js';
import { checkFile } from './receivedFiles.js';
import type { ReceivedIntake } from './receivedIntake.js';
import { type Met, ReceivedStreams } from './receivedStreams.js';
import type { AppProof } from './report.js';

/** A line that is being written may look torn, and one that is taken back damaged. */
const TRIES = 4;
const PAUSE_MS = 100;
const RESTORE = 'restore the file from a copy, or seed the replica again';

export interface AppOptions {
  expect: readonly ChainLine[];
  /** Batches up to this number were removed on purpose. */
  removed: number;
  onBytes: OnBytes;
  intake: ReceivedIntake;
}

/**
 * Reads one app's folder again: every batch that was accepted, its length and digest, the numbers,
 * the order and chain of each stream, and what should not be there. Nothing is written or locked,
 * and the receiver may be at work.
 *
 * @returns what is there, and what became of the lines that are about a stream of this app
 */
export async function proveApp(
  folder: string,
  app: string,
  options: AppOptions,
  findings: Findings,
): Promise<{ proof: AppProof; met: Met }> {
  // Before the index: a batch is recorded before it has its name, so each of these is recorded.
  const names = await namesIn(join(folder, 'batches'));
  const applied = await numberIn(join(folder, 'applied'));
  const removedMax = Math.max(applied ?? 0, options.removed);
  const streams = new ReceivedStreams(app, options.expect, findings);
  const changed: { number: number; sha256: string }[] = [];
  const proof: AppProof = { app, batches: 0, bytes: 0, removed: 0, blobs: 0, streams: [] };
  // What the index, or a file, lacks and the intake holds is made again at the receiver's start.
  let intake: ReadonlyMap<number, Leftover> = new Map();
  const isInIntake = async (number: number): Promise<boolean> => {
    if (!intake.has(number)) intake = await options.intake.of(app);
    return intake.has(number);
  };
  const prove = async (record: BatchRecord): Promise<void> => {
    const { number } = record;
    if (number !== proof.batches + 1) {
      findings.differs({
        ...{ code: 'NUMBER_MISSING', app, sequence: number },
        what: `batch ${number} is recorded behind batch ${proof.batches}`,
        do: 'index.log was changed: restore the data folder, or seed the replica again',
      });
    }
    proof.batches = number;
    proof.bytes += record.bytes;
    streams.add(record);
    const file = await checkFile(folder, record, options.onBytes);
    if (file.is !== 'equal' && (await isInIntake(number)) && intake.get(number)?.data) return;
    if (file.is === 'missing') {
      if (number <= removedMax) proof.removed += 1;
      else {
        findings.differs({
          ...{ code: 'FILE_MISSING', app, sequence: number },
          what: `batch ${number}: batches/${batchFileName(number)} is gone`,
          do: `${RESTORE}; if you removed it after its use, say so: --removed ${number}`,
        });
      }
    } else if (file.is === 'changed') {
      changed.push({ number, sha256: file.sha256 });
    }
  };
  const indexPath = join(folder, 'index.log');
  for await (const record of recordsOf<BatchRecord>(indexPath, app, findings, isInIntake)) {
    await prove(record);
  }
  intake = await options.intake.of(app);
  for (const [number, { record }] of intake) if (number === proof.batches + 1) await prove(record);
  await nameChanged(folder, app, changed, findings);
  const last = proof.batches;
  let lastNow = last;
  for (const name of names) {
    const number = Number(/^(\d{10})\.batch$/.exec(name)?.[1] ?? Number.NaN);
    if (number >= 1 && number <= lastNow) continue;
    // A receiver at work may have recorded it since, and have removed it from its intake.
    if (number > lastNow) lastNow = Math.max(last, await lastIn(indexPath));
    if (number >= 1 && number <= lastNow) continue;
    findings.differs({
      ...{ code: 'FILE_EXTRA', app, sequence: Number.isNaN(number) ? null : number },
      what: `batches/${name} is not recorded: index.log ends at batch ${last}`,
      do: Number.isNaN(number)
        ? 'somebody put it there: move it away'
        : 'index.log lost its end, or somebody put the file there: restore the data folder, or seed the replica again',
    });
  }
  if (applied !== null && applied > last) {
    findings.differs({
      ...{ code: 'INDEX_SHORT', app },
      what: `batch ${applied} was applied, but index.log ends at batch ${last}`,
      do: 'index.log lost its end: restore the data folder, or seed the replica again',
    });
  }
  proof.blobs = await proveBlobs(folder, app, findings);
  const { streams: proved, met } = streams.end();
  return { proof: { ...proof, streams: proved }, met };
}

async function lastIn(path: string): Promise<number> {
  const last = await RecordLog.last<BatchRecord>(path, nodeFileSystem).catch(() => null);
  return last?.number ?? 0;
}

/**
 * The records of a log, and what is wrong with the log itself.
 *
 * @param isElsewhere whether the record of that many, from 1, is held where it can be made again:
 *   then a bad end is what a crash leaves
 */
async function* recordsOf<R>(
  path: string,
  app: string,
  findings: Findings,
  isElsewhere: (number: number) => Promise<boolean> = () => Promise.resolve(false),
): AsyncGenerator<R> {
  let told = 0;
  for (let tries = 1; ; tries += 1) {
    let seen = 0;
    let end = 0;
    try {
      const sizeBefore = (await stat(path)).size;
      for await (const read of RecordLog.read<R>(path, nodeFileSystem)) {
        end = read.end;
        for (const record of read.records) {
          seen += 1;
          if (seen <= told) continue;
          told = seen;
          yield record;
        }
      }
      const { size } = await stat(path);
      const torn = size - end;
      // One that grows is being written: what came since is of no concern.
      if (torn === 0 || size !== sizeBefore) return;
      if (tries < TRIES) {
        await sleep(PAUSE_MS);
        continue;
      }
      if (await isElsewhere(told + 1)) return;
      const what = `${path} ends in ${torn} bytes that are no whole line`;
      findings.unchecked(app, what, 'a crash tore them; the receiver cuts them off at its start');
      return;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return; // nothing has come yet
      const damaged = error instanceof FerryError && error.code === 'INDEX_DAMAGED';
      if (!damaged) throw error;
      if (tries === TRIES) {
        if (await isElsewhere(told + 1)) return;
        const { code, message: what, hint = RESTORE } = error;
        findings.differs({ code, app, what, do: hint });
        return;
      }
      await sleep(PAUSE_MS);
    }
  }
}

/** Says whose bytes a changed file holds, where they are another batch's. */
async function nameChanged(
  folder: string,
  app: string,
  changed: readonly { number: number; sha256: string }[],
  findings: Findings,
): Promise<void> {
  if (changed.length === 0) return;
  const owners = new Map<string, number>(changed.map(({ sha256 }) => [sha256, 0]));
  await RecordLog.scan<BatchRecord>(join(folder, 'index.log'), nodeFileSystem, (record) => {
    if (owners.has(record.sha256)) owners.set(record.sha256, record.number);
  }).catch(() => undefined); // its damage is told already
  for (const { number, sha256 } of changed) {
    const owner = owners.get(sha256) ?? 0;
    const whose = owner === 0 ? 'are not those that were accepted' : `are those of batch ${owner}`;
    findings.differs({
      ...{ code: 'FILE_CHANGED', app, sequence: number },
      what: `batch ${number}: the bytes in batches/${batchFileName(number)} ${whose}`,
      do: RESTORE,
    });
  }
}

/** Every blob that is recorded is there. What is in it nobody recorded: the last one counts. */
async function proveBlobs(folder: string, app: string, findings: Findings): Promise<number> {
  const paths = new Set<string>();
  for await (const { path } of recordsOf<{ path: string }>(
    join(folder, 'blobs.log'),
    app,
    findings,
  )) {
    paths.add(path);
  }
  for (const path of paths) {
    const file = await stat(join(folder, 'blobs', path)).catch(() => null);
    if (file?.isFile()) continue;
    findings.differs({
      ...{ code: 'BLOB_MISSING', app },
      what: `the blob ${path} was stored, and is gone`,
      do: 'restore it from a copy; its sender sends it again when it changes',
    });
  }
  return paths.size;
}

async function namesIn(dir: string): Promise<string[]> {
  return readdir(dir).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
}

/** null: there is none, or it holds none. */
async function numberIn(path: string): Promise<number | null> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return /^\d+\s*$/.test(text) ? Number(text) : null;
}
