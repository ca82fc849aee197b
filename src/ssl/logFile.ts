import { constants, copyFileSync, fstatSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { registryDir } from './places.js';

/** A daemon that retries for a year must not fill the disk. One older file is kept. */
const LOG_BYTES_MAX = 4 * 1024 * 1024;
const LOOK_MS = 60_000;

/** The log of all starts until a daemon knows its name. */
export const START_LOG = 'start.log';

/** Opens a log in the shared state directory for appending, mode 0600. */
export function openLog(stateDir: string, fileName: string): { fd: number; path: string } {
  mkdirSync(registryDir(stateDir), { recursive: true, mode: 0o700 });
  const path = join(registryDir(stateDir), fileName);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;
  return { fd: openSync(path, flags, 0o600), path };
}

/** Looks now and then, and moves what is there aside when it has grown too large. */
export function keepLogSmall({ fd, path }: { fd: number; path: string }): void {
  setInterval(() => {
    if (fstatSync(fd).size <= LOG_BYTES_MAX) return;
    copyFileSync(path, `${path}.1`);
    ftruncateSync(fd);
  }, LOOK_MS).unref();
}
