import { createHash } from 'node:crypto';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type OurSource, stamp, type TheirSource } from './sources.js';

const MIB = 1024 * 1024;
export const MEMORY_MAX_BYTES = 300 * MIB;

/** Every batch that was confirmed to one of ours is there once, in order, and nothing else is. */
export async function judgeOurs(dataDir: string, sources: readonly OurSource[]): Promise<string[]> {
  const faults: string[] = [];
  const found = new Map<string, string[]>();
  for (const app of new Set(sources.map((source) => source.app))) {
    for (const batch of await batchesOf(dataDir, app)) {
      const [, source = '?', number = '?'] =
        /^#(\S+) (\d+)\n/.exec(batch.toString('latin1', 0, 80)) ?? [];
      const list = found.get(source) ?? [];
      found.set(source, list);
      if (Number(number) !== list.length + 1) {
        faults.push(`${app}: batch ${number} of ${source} stands where ${list.length + 1} should`);
      }
      list.push(sha256(batch));
    }
  }
  for (const { name, confirmed } of sources) {
    const stored = found.get(name) ?? [];
    found.delete(name);
    if (stored.length !== confirmed.length || stored.some((digest, n) => digest !== confirmed[n])) {
      faults.push(
        `${name}: ${confirmed.length} confirmed, ${stored.length} stored, or other bytes`,
      );
    }
  }
  for (const name of found.keys()) faults.push(`there are batches of ${name}, whom nobody knows`);
  return faults;
}

/** What was written into a journal of bin/ssl is what its batches are, one behind the other. */
export async function judgeTheirs(
  dataDir: string,
  sources: readonly TheirSource[],
): Promise<string[]> {
  const faults: string[] = [];
  for (const source of sources) {
    const arrived = Buffer.concat(await batchesOf(dataDir, source.app));
    const { written } = source;
    if (!arrived.equals(written)) {
      const first = arrived.indexOf(stamp(source.name, 1));
      faults.push(
        `${source.name}: ${written.length} bytes written, ${arrived.length} arrived, the first record at ${first}`,
      );
    }
  }
  return faults;
}

/** All files below a folder but those of `except`, with their content's digest: to compare. */
export async function picture(
  folder: string,
  except: (path: string) => boolean,
): Promise<string[]> {
  const lines: string[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name);
    if (except(path)) continue;
    const stat = await lstat(path);
    if (stat.isDirectory()) lines.push(`${path}/`, ...(await picture(path, except)));
    else lines.push(`${path} ${stat.isFile() ? sha256(await readFile(path)) : 'no file'}`);
  }
  return lines;
}

/** Names and modes of everything in the data folder. */
export async function judgeFolder(dataDir: string, apps: ReadonlySet<string>): Promise<string[]> {
  const faults: string[] = [];
  for (const name of await readdir(dataDir)) {
    if (!apps.has(name) && !['receiver.intake', 'receiver.lock', 'ticket.keys'].includes(name)) {
      faults.push(`${name} is in the data folder, and no app`);
    }
  }
  await walk(dataDir, (path, mode, isDirectory, isFile) => {
    const wanted = isDirectory ? 0o700 : 0o600;
    if ((mode & 0o777) !== wanted) faults.push(`${path} has mode ${(mode & 0o777).toString(8)}`);
    if (!isDirectory && !isFile) faults.push(`${path} is neither file nor folder`);
    if (path.includes('escaped')) faults.push(`${path} was written by an attacker`);
    if (path.includes('/tmp/') && path.startsWith(dataDir) && path.endsWith('.part')) {
      faults.push(`${path} is left of a request that is over`);
    }
  });
  return faults;
}

async function walk(
  folder: string,
  look: (path: string, mode: number, isDirectory: boolean, isFile: boolean) => void,
): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const stat = await lstat(path);
    look(path, stat.mode, stat.isDirectory(), stat.isFile());
    if (stat.isDirectory()) await walk(path, look);
  }
}

/** The value that `share` of all are not above; 0 of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

async function batchesOf(dataDir: string, app: string): Promise<Buffer[]> {
  const folder = join(dataDir, app, 'batches');
  const names = (await readdir(folder).catch(() => [])).sort();
  return Promise.all(names.map((name) => readFile(join(folder, name))));
}

function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
