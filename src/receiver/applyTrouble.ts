import { readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asError, FerryError, systemCode } from '../common/errors.js';

/** Why the apply command of an app does not get on; the file `apply-trouble.json` of its folder. */
export interface ApplyTrouble {
  /** The batch it failed at. */
  number: number;
  /** How often in a row. */
  attempts: number;
  code: string;
  message: string;
  hint?: string;
  /** ISO 8601. */
  at: string;
}

const NAME = 'apply-trouble.json';

/** For `ferry status`, which is another process. It only tells: losing it loses nothing. */
export async function noteTrouble(
  folder: string,
  trouble: { number: number; attempts: number; error: unknown },
): Promise<void> {
  const { number, attempts, error } = trouble;
  const e = asError(error);
  const note: ApplyTrouble = {
    number,
    attempts,
    code: e instanceof FerryError ? e.code : 'INTERNAL',
    message: e.message,
    ...(e instanceof FerryError && e.hint !== undefined ? { hint: e.hint } : {}),
    at: new Date().toISOString(),
  };
  const fresh = join(folder, `${NAME}.new`);
  await writeFile(fresh, `${JSON.stringify(note)}\n`, { mode: 0o600 });
  await rename(fresh, join(folder, NAME));
}

export async function clearTrouble(folder: string): Promise<void> {
  await unlink(join(folder, NAME)).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}

/** Null: there is none. */
export async function readTrouble(folder: string): Promise<ApplyTrouble | null> {
  try {
    return JSON.parse(await readFile(join(folder, NAME), 'utf8')) as ApplyTrouble;
  } catch {
    return null;
  }
}
