import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CrashPoint } from '../../src/common/crashPoints.js';
import { until } from '../support/process.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

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
/** A segment rolls when a megabyte in it is no longer needed; a large batch's file is freed alone. */
const LARGER_COMMIT_BYTES: Partial<Record<CrashPoint, number>> = {
  'spool.rolled': 100_000,
  'spool.freeing': 300_000,
  'spool.freed': 300_000,
};

/**
 * A point that is not reached within so many commits is not on the way. The first come fast, as on
 * a machine with time to spare; a machine without any gets a minute and a half.
 */
const COMMITS_MAX = 1_000;
const FAST_COMMITS = 100;
const COMMIT_PAUSE_MS = 10;
const LATER_PAUSE_MS = 100;

/**
 * Kills the sender or the receiver at a point while a writer commits, starts it again, and compares
 * what arrived with what was written.
 *
 * @param more further fields of the destination, as YAML flow
 */
export async function killAndCompare(
  side: 'sender' | 'receiver',
  point: CrashPoint,
  more?: string,
): Promise<void> {
  const site = await Site.make();
  const env = { FERRY_CRASH_AT: `${point}:${PASSING[point] ?? 3}` };
  const receiver = await site.startReceiver(0, side === 'receiver' ? { env } : {});
  await site.configure({
    destinations: { replica: { port: receiver.port, ...(more === undefined ? {} : { more }) } },
    journals: ['name: foo, path: fifo/foo, blobs: blob/foo/, to: replica, interval: 200ms'],
  });
  const sender = await site.start('run', side === 'sender' ? { env } : {});
  const doomed = side === 'sender' ? sender : receiver.process;

  const writer = new Writer(site.path('fifo/foo'));
  const image = randomBytes(5_000);
  await mkdir(site.path('blob/foo'), { recursive: true });
  await announceBlob(site.path('blob/foo'), '=1.img', '1.img', image);
  for (let commits = 0; !doomed.isOver; commits += 1) {
    assert.ok(commits < COMMITS_MAX, `never came to ${point}\n${doomed.output}`);
    await writer.commit(LARGER_COMMIT_BYTES[point] ?? COMMIT_BYTES);
    await sleep(commits < FAST_COMMITS ? COMMIT_PAUSE_MS : LATER_PAUSE_MS);
  }
  assert.deepEqual(await doomed.exit, { code: null, signal: 'SIGKILL' });
  await writer.commit();

  if (side === 'sender') await site.start('run');
  else await site.startReceiver(receiver.port);
  await writer.commit();
  await site.arrived('foo', writer.written);
  await until('the link is gone', () => !existsSync(site.path('blob/foo/=1.img')), ARRIVAL_MS);
  assert.deepEqual(await site.receivedBlob('foo', '1.img'), image);
}
