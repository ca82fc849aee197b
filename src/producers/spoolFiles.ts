import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../common/errors.js';

/** The spool of one journal. */
export function spoolDir(stateDir: string, journal: string): string {
  return join(stateDir, 'spool', journal);
}

/** Journals that have a spool in this state directory; none when it was never used. */
export async function spooledJournals(stateDir: string): Promise<string[]> {
  try {
    return await readdir(join(stateDir, 'spool'));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}
