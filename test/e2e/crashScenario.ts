import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CRASH_POINTS, type CrashPoint } from '../../src/common/crashPoints.js';
import { type TestProcess, until } from '../support/process.js';
import { ARRIVAL_MS, announceBlob, type SenderOptions, Site, Writer } from './site.js';

/** Points that a plain small capture and an undisturbed operator do not pass; they have tests of their own. */
const ELSEWHERE: readonly CrashPoint[] = [
  'capture.precopied',
  'capture.trimMarked',
  'capture.trimmed',
  'transfer.wished',
  'transfer.uploaded',
  'transfer.taken',
  'skip.kept',
  'skip.recorded',
  'skip.applied',
  'skip.audited',
  'replay.recorded',
  'replay.opened',
  'replay.audited',
  'seals.synced',
  'seals.freed',
  'seals.taken',
  'intake.written',
  'intake.settled',
  'intake.freed',
  'archive.indexed',
  'archive.kept',
  'archive.recorded',
  'archive.pruned',
  'receiver.folderMade',
  'receiver.applied',
];

/** The points of one side that the scenario passes. */
export function pointsOf(side: 'sender' | 'receiver'): CrashPoint[] {
  return CRASH_POINTS.filter(
    (point) =>
      point.startsWith('receiver.') === (side === 'receiver') && !ELSEWHERE.includes(point),
  );
}

/** The Nth passing: the first would always find an empty pipeline. */
const PASSING: Partial<Record<CrashPoint, number>> = {
  'capture.settled': 1,
  'blob.seen': 1,
  'blob.confirmed': 1,
  'blob.noted': 1,
  'blob.unlinked': 1,
  'spool.rolled': 1,
  'spool.freeing': 1,
  'spool.freed': 1,
};

const COMMIT_BYTES = 3_000;
/**
 * A segment rolls when a megabyte in it is no longer needed; a large batch's file is freed alone; a
 * receiver has a small batch in memory until it is in the intake.
 */
const LARGER_COMMIT_BYTES: Partial<Record<CrashPoint, number>> = {
  'spool.rolled': 100_000,
  'spool.freeing': 300_000,
  'spool.freed': 300_000,
  'receiver.written': 100_000,
  'receiver.synced': 100_000,
};

/**
 * A point that is not reached within so many commits is not on the way. The first come fast, as on
 * a machine with time to spare; a machine without any gets a minute and a half.
 */
const COMMITS_MAX = 1_000;
const FAST_COMMITS = 100;
const COMMIT_PAUSE_MS = 10;
const LATER_PAUSE_MS = 100;

/** A receiver that nobody kills: it serves all senders of a test file. */
export interface LivingReceiver {
  site: Site;
  port: number;
}

/** To be started outside of any test: what a test starts ends with it. */
export async function startLivingReceiver(): Promise<LivingReceiver> {
  const site = await Site.make();
  const { port } = await site.startReceiver();
  return { site, port };
}

/**
 * Kills a sender, which has a state and a Redis of its own, at a point while a writer commits,
 * starts it again, and compares what arrived with what was written.
 *
 * @param more further fields of the destination, as YAML flow
 */
export async function killSender(
  { site, port }: LivingReceiver,
  point: CrashPoint,
  more?: string,
): Promise<void> {
  await killAndCompare(site, point, async (env) => {
    await site.configure(configuration(point, port, more), point);
    const sender = await site.start('run', { env, subdir: point });
    return { doomed: sender, again: () => site.start('run', { subdir: point }) };
  });
}

/** The same for a receiver. */
export async function killReceiver(point: CrashPoint, more?: string): Promise<void> {
  const site = await Site.make();
  await killAndCompare(site, point, async (env) => {
    const { process, port } = await site.startReceiver(0, { env });
    await site.configure(configuration(point, port, more), point);
    await site.start('run', { subdir: point });
    return { doomed: process, again: () => site.startReceiver(port) };
  });
}

/** Of the sender, which lies in a directory of its own; its journal is named so, too. */
function configuration(point: CrashPoint, port: number, more?: string): SenderOptions {
  return {
    destinations: { replica: { port, ...(more === undefined ? {} : { more }) } },
    journals: [`name: ${point}, path: fifo, blobs: blob/, to: replica, interval: 200ms`],
  };
}

async function killAndCompare(
  site: Site,
  point: CrashPoint,
  start: (env: Record<string, string>) => Promise<{
    doomed: TestProcess;
    again: () => Promise<unknown>;
  }>,
): Promise<void> {
  const blobs = site.path(point, 'blob');
  await mkdir(blobs, { recursive: true });
  const { doomed, again } = await start({ FERRY_CRASH_AT: `${point}:${PASSING[point] ?? 3}` });
  const writer = new Writer(site.path(point, 'fifo'));
  const image = randomBytes(5_000);
  await announceBlob(blobs, '=1.img', '1.img', image);
  for (let commits = 0; !doomed.isOver; commits += 1) {
    assert.ok(commits < COMMITS_MAX, `never came to ${point}\n${doomed.output}`);
    await writer.commit(LARGER_COMMIT_BYTES[point] ?? COMMIT_BYTES);
    await sleep(commits < FAST_COMMITS ? COMMIT_PAUSE_MS : LATER_PAUSE_MS);
  }
  assert.deepEqual(await doomed.exit, { code: null, signal: 'SIGKILL' });
  await writer.commit();

  await again();
  await writer.commit();
  await site.arrived(point, writer.written);
  await until('the link is gone', () => !existsSync(join(blobs, '=1.img')), ARRIVAL_MS);
  assert.deepEqual(await site.receivedBlob(point, '1.img'), image);
}
