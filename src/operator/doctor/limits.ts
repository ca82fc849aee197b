/** Limits of the kernel and of this shell: watches of directories, open files. */
import { watch } from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { FerryConfig } from '../../config/model.js';
import { OPEN_LOGS_MIN } from '../../producers/spool/handles.js';
import { type Examination, type Findings, reasonOf } from './examination.js';
import { journalsOf } from './journals.js';
import { exists } from './system.js';

/** Node, Redis's connections, the embedded server's pipes, locks. */
const OPEN_FILES_BASE = 100;
/** Captures at once, each with a journal and a copy open. */
const OPEN_FILES_CAPTURES = 128;

export function limitExaminations(config: FerryConfig): Examination[] {
  const files: Examination = {
    check: 'open files',
    subject: 'ulimit -n',
    run: async (findings) => {
      const needed = openFilesOf(config);
      judgeOpenFiles(needed, softLimit(await readFile('/proc/self/limits', 'utf8')), findings);
    },
  };
  const watches: Examination = {
    check: 'watches',
    subject: 'inotify',
    run: async (findings) => {
      const directories = await watchedDirectories(config);
      const present = await firstPresent(directories);
      const refused = present === null ? null : await tryWatch(present);
      judgeWatches(await readWatchLimits(), await watchesInUse(), directories.size, findings);
      if (refused === null) return;
      findings.fail(
        'watches',
        `${present} cannot be watched (${reasonOf(refused)}); it is looked at each interval only`,
        'raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl',
      );
    },
  };
  if (process.platform !== 'linux') return [];
  return config.journals.length > 0 ? [files, watches] : [files];
}

/** Descriptors that the roles of this configuration may need in one process, generously. */
function openFilesOf(config: FerryConfig): number {
  let sends = 0;
  for (const { connections } of config.destinations.values()) sends += connections;
  const receiver = config.receiver === null ? 0 : config.receiver.limits.connections;
  const journals = config.journals.length === 0 ? 0 : OPEN_LOGS_MIN + OPEN_FILES_CAPTURES;
  // A connection has a socket and a file.
  return OPEN_FILES_BASE + journals + 2 * (sends + receiver);
}

function softLimit(limits: string): number {
  const text = /^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? 'unlimited';
  return text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text);
}

function judgeOpenFiles(needed: number, limit: number, findings: Findings): void {
  if (limit >= needed) findings.ok('open files', `${limit} allowed, up to ${needed} needed`);
  else {
    findings.fail(
      'open files',
      `${limit} allowed, up to ${needed} needed`,
      `ulimit -n ${2 * needed}, or LimitNOFILE=${2 * needed} in the service's unit`,
    );
  }
}

export interface WatchNumbers {
  watches: number;
  instances: number;
}

/** What so many directories need of the limits. Also for tests: they are the whole machine's. */
export function judgeWatches(
  limits: WatchNumbers,
  used: WatchNumbers,
  needed: number,
  findings: Findings,
): void {
  const hint =
    'raise them: sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024';
  const facts = `one watch for each of ${needed} directories; ${used.watches} of ${limits.watches} watches and ${used.instances} of ${limits.instances} instances of this user are in use`;
  if (needed > limits.watches || limits.instances < 1) findings.fail('watches', facts, hint);
  else if (used.watches + needed > limits.watches || used.instances >= limits.instances) {
    findings.warn('watches', facts, hint);
  } else findings.ok('watches', facts);
}

async function watchedDirectories(config: FerryConfig): Promise<Set<string>> {
  const directories = new Set<string>();
  for (const rule of config.journals) {
    directories.add(rule.kind === 'path' ? dirname(rule.path) : rule.dir);
    if (rule.blobs === null) continue;
    for (const { blobsDir } of await journalsOf(config, rule)) {
      if (blobsDir !== null) directories.add(blobsDir);
    }
  }
  return directories;
}

async function firstPresent(directories: Iterable<string>): Promise<string | null> {
  for (const directory of directories) if (await exists(directory)) return directory;
  return null;
}

/** Watches a directory for a moment. Null: it worked. */
function tryWatch(directory: string): Promise<Error | null> {
  return new Promise((resolve) => {
    try {
      const watcher = watch(directory);
      watcher.once('error', resolve);
      watcher.once('close', () => resolve(null));
      watcher.close();
    } catch (error) {
      resolve(error as Error);
    }
  });
}

async function readWatchLimits(): Promise<WatchNumbers> {
  const read = async (name: string): Promise<number> =>
    Number(await readFile(`/proc/sys/fs/inotify/${name}`, 'utf8'));
  return { watches: await read('max_user_watches'), instances: await read('max_user_instances') };
}

/** By processes of this user; of others we may not know, and their limits are their own. */
async function watchesInUse(): Promise<WatchNumbers> {
  const uid = process.getuid?.();
  const used = { watches: 0, instances: 0 };
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || (await stat(`/proc/${pid}`).catch(() => null))?.uid !== uid) continue;
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (target !== 'anon_inode:inotify') continue;
      used.instances += 1;
      const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => '');
      used.watches += info.match(/^inotify wd:/gm)?.length ?? 0;
    }
  }
  return used;
}
