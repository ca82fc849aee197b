import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from './atEnd.js';

/** Of a Unix socket's path 107 bytes fit, and below this there are up to 60. */
const BELOW_MAX_BYTES = 40;

function shortTmpdir(): string {
  return Buffer.byteLength(realpathSync(tmpdir())) <= BELOW_MAX_BYTES ? tmpdir() : '/tmp';
}

/** A fresh directory with a short name (Unix sockets live in it), removed after the test file. */
export function tempDir(below = shortTmpdir()): string {
  const directory = realpathSync(mkdtempSync(join(below, 'ferry-')));
  atEnd(() => removeDir(directory));
  return directory;
}

const IN_MEMORY = '/dev/shm';

/**
 * The same in memory, where the system has such a place: for tests that make and remove thousands
 * of small files and sync none of them.
 */
export function memoryDir(): string {
  return existsSync(IN_MEMORY) ? tempDir(IN_MEMORY) : tempDir();
}

const TRIES = 30;
const PAUSE_MS = 100;

/**
 * Servers that are just ending may still write: all of it is tried again for a moment. Node's own
 * `maxRetries` would only repeat the `rmdir`, and not see what has come since.
 */
export function removeDir(directory: string): void {
  for (let left = TRIES; ; left -= 1) {
    try {
      rmSync(directory, { recursive: true, force: true });
      return;
    } catch (error) {
      if (left === 0) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
}
