import { readFile } from 'node:fs/promises';
import { FerryError, systemCode } from '../common/errors.js';
import { hashPassword, parsePasswordHash } from '../common/password.js';
import type { DashboardConfig } from '../config/model.js';

type Password = DashboardConfig['users'][number]['password'];

/**
 * What a user's password is compared with. A variable or a file holds the password or its hash.
 *
 * @throws FerryError DASHBOARD_PASSWORD (kind usage) when there is none
 */
export async function passwordHashOf(name: string, password: Password): Promise<string> {
  if ('scrypt' in password) return password.scrypt;
  const text =
    'env' in password ? (process.env[password.env] ?? '') : await firstLine(name, password.file);
  if (text === '') {
    const where = 'env' in password ? `the variable ${password.env}` : password.file;
    throw unusable(name, `${where} is empty`);
  }
  return parsePasswordHash(text) === null ? hashPassword(text) : text;
}

async function firstLine(name: string, file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).split(/\r?\n/, 1)[0] ?? '';
  } catch (error) {
    throw unusable(name, `${file} cannot be read (${systemCode(error)})`, error);
  }
}

function unusable(name: string, why: string, cause?: unknown): FerryError {
  return new FerryError('DASHBOARD_PASSWORD', `no password for the dashboard's ${name}: ${why}`, {
    kind: 'usage',
    hint: 'it is to hold the password, or what ferry dashboard --hash-password prints',
    ...(cause === undefined ? {} : { cause }),
  });
}
