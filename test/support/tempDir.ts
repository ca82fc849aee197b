import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from './atEnd.js';

/** A fresh directory with a short name (Unix sockets live in it), removed after the test file. */
export function tempDir(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'ferry-')));
  atEnd(() => removeDir(directory));
  return directory;
}

/** Servers that are just ending may still write: tried again for a moment. */
export function removeDir(directory: string): void {
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
