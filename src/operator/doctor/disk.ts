/** Free space and inodes of the disks that are written to. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FerryConfig } from '../../config/model.js';
import { DISK_FLOOR_BYTES } from '../../producers/capture/room.js';
import type { Examination, Findings } from './examination.js';
import { existingAbove, volumeOf } from './system.js';

const MEBIBYTE = 1024 * 1024;

/** Below that a busy hour, or one large batch, may end at the floor. */
const FREE_BYTES_WARN = 1024 * MEBIBYTE;
/** Spool, journals' large batches and Redis make a few files each. */
const FREE_INODES_FAIL = 100;
const FREE_INODES_WARN = 10_000;

/** One examination per place, and one finding per disk. */
export function diskExaminations(config: FerryConfig): Examination[] {
  const { stateDir, receiver } = config;
  const places = [
    ...(config.journals.length > 0 ? [stateDir, join(stateDir, 'archive')] : []),
    ...(receiver === null ? [] : [receiver.dataDir]),
  ];
  const seen = new Set<number>();
  return places.map((place) => ({
    check: 'disk',
    subject: place,
    async run(findings) {
      const { dev } = await stat(await existingAbove(place));
      if (seen.has(dev)) return;
      seen.add(dev);
      judgeDisk(await volumeOf(place), findings);
    },
  }));
}

/** What so much room is worth. Also for tests: nobody fills a disk for one. */
export function judgeDisk(
  { freeBytes, freeInodes }: { freeBytes: number; freeInodes: number | null },
  findings: Findings,
): void {
  const free = `${Math.floor(freeBytes / MEBIBYTE)} MiB free`;
  const inodes = freeInodes === null ? '' : `, ${freeInodes} inodes free`;
  if (freeBytes < DISK_FLOOR_BYTES) {
    findings.fail(
      'disk',
      `${free}, and captures stop below ${DISK_FLOOR_BYTES / MEBIBYTE} MiB`,
      'free space, or bring destinations back so that the spool empties',
    );
  } else if (freeInodes !== null && freeInodes < FREE_INODES_FAIL) {
    findings.fail('disk', `${free}, but only ${freeInodes} inodes`, 'remove small files');
  } else if (freeBytes < FREE_BYTES_WARN) {
    findings.warn('disk', `only ${free}${inodes}`, 'free space, or lower limits.spool');
  } else if (freeInodes !== null && freeInodes < FREE_INODES_WARN) {
    findings.warn('disk', `${free}, but only ${freeInodes} inodes`, 'remove small files');
  } else findings.ok('disk', `${free}${inodes}`);
}
