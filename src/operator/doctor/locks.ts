/**
 * Whether locks exclude anybody on the journals' file systems. Journals' directories are watched
 * by their producer, so nothing may appear in them: the probe is a file without a name. Where a file
 * system has no such files, a journal itself is locked, for a moment and only if it is free.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { tryLock } from 'fs-native-extensions';
import { systemCode } from '../../common/errors.js';
import type { FerryConfig } from '../../config/model.js';
import { type Examination, type Findings, reasonOf } from './examination.js';
import { journalsOf } from './journals.js';
import { exists, volumeOf } from './system.js';

/** Linux: open(2) makes a file that has no name. Node does not name the flag. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** `taken`: somebody else has the lock just now, so locks do exclude. */
export type LockAnswer = 'excludes' | 'taken' | 'excludes nobody';

export function lockExaminations(config: FerryConfig): Examination[] {
  const dirs = new Map<string, FerryConfig['journals'][number]>();
  for (const rule of config.journals) {
    const dir = rule.kind === 'path' ? dirname(rule.path) : rule.dir;
    if (!dirs.has(dir)) dirs.set(dir, rule);
  }
  return [...dirs].map(([dir, rule]) => ({
    check: 'locks',
    subject: dir,
    run: async (findings) => {
      if (!(await exists(dir))) {
        findings.skipped('the directory is not there', 'locks');
        return;
      }
      const answer = await probe(
        dir,
        async () => (await journalsOf(config, rule))[0]?.path ?? null,
      );
      await judge(dir, answer, findings);
    },
  }));
}

/** What a try showed, or the error that it ended with; null: nothing could be tried. */
async function probe(
  dir: string,
  journal: () => Promise<string | null>,
): Promise<LockAnswer | { error: unknown } | null> {
  let path: string | null = dir;
  let flags = O_TMPFILE | constants.O_RDWR;
  if (process.platform !== 'linux') path = null;
  for (;;) {
    if (path === null) {
      path = await journal();
      flags = constants.O_RDWR | constants.O_NONBLOCK;
      if (path === null) return null;
    }
    let file: FileHandle;
    try {
      file = await open(path, flags, 0o600);
    } catch (error) {
      if (path !== dir) return { error };
      path = null; // no nameless files here, or no right to make one
      continue;
    }
    try {
      return await tryBoth(file);
    } catch (error) {
      return { error };
    } finally {
      await file.close();
    }
  }
}

/** Two who have the same file open must not both get its lock. */
export async function tryBoth(
  file: FileHandle,
  lock: (fd: number) => boolean = tryLock,
): Promise<LockAnswer> {
  if (!lock(file.fd)) return 'taken';
  if (process.platform !== 'linux') return 'excludes';
  const other = await open(`/proc/self/fd/${file.fd}`, constants.O_RDWR);
  try {
    return lock(other.fd) ? 'excludes nobody' : 'excludes';
  } finally {
    await other.close();
  }
}

async function judge(
  dir: string,
  answer: LockAnswer | { error: unknown } | null,
  findings: Findings,
): Promise<void> {
  const { name, kind } = await volumeOf(dir);
  if (answer === null) {
    findings.skipped(`${name}: no journal is there that could be tried`, 'locks');
  } else if (typeof answer === 'object') {
    const code = systemCode(answer.error);
    if (code === 'EACCES' || code === 'EPERM') {
      findings.skipped(`${name}: this user may not open a journal there`, 'locks');
      return;
    }
    findings.fail(
      'locks',
      `${name} refuses fcntl locks (${reasonOf(answer.error)})`,
      'move the journals to a local disk',
    );
  } else if (answer === 'excludes nobody') {
    findings.fail(
      'locks',
      `on ${name} two may hold one lock: a commit during a capture would be lost`,
      'move the journals to a local disk, or mount it with locks',
    );
  } else if (kind === 'network') {
    findings.warn(
      'locks',
      `${name} has locks; they are as good as its server's`,
      'the writer must be on this machine; better, move the journals to a local disk',
    );
  } else findings.ok('locks', `${name}: fcntl locks exclude`);
}
