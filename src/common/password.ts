import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

/** A password as a configuration may hold it: `scrypt.<log2 N>.<r>.<p>.<salt>.<hash>`. */
interface PasswordHash {
  logCost: number;
  blockSize: number;
  parallel: number;
  salt: Buffer;
  hash: Buffer;
}

/** 32 MiB and some 80 ms per try. */
const LOG_COST = 15;
const BLOCK_SIZE = 8;
const PARALLEL = 1;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** A hash in the configuration may ask for more than ours, but not for all of the memory. */
const LOG_COST_MAX = 20;
const MEMORY_MAX_BYTES = 512 * 1024 * 1024;

/** @returns null when the text is no hash of ours */
export function parsePasswordHash(text: string): PasswordHash | null {
  const parts = /^scrypt\.(\d{1,2})\.(\d{1,2})\.(\d{1,2})\.([\w-]{16,})\.([\w-]{22,})$/.exec(text);
  if (parts === null) return null;
  const [logCost = 0, blockSize = 0, parallel = 0] = parts.slice(1, 4).map(Number);
  if (logCost < 1 || logCost > LOG_COST_MAX || blockSize < 1 || parallel < 1) return null;
  if (128 * blockSize * 2 ** logCost > MEMORY_MAX_BYTES) return null;
  const [salt, hash] = parts.slice(4).map((part) => Buffer.from(part, 'base64url'));
  if (salt === undefined || hash === undefined) return null;
  return { logCost, blockSize, parallel, salt, hash };
}

/** A hash that no password has, and that takes as long to be compared with as the other. */
export function strangersHash(like: string): string {
  const cost = like.split('.').slice(0, 4).join('.');
  const [salt, hash] = [SALT_BYTES, HASH_BYTES].map((n) => randomBytes(n).toString('base64url'));
  return `${cost}.${salt}.${hash}`;
}

/** The text for `password: {scrypt: ...}`. */
export async function hashPassword(password: string): Promise<string> {
  const how = { logCost: LOG_COST, blockSize: BLOCK_SIZE, parallel: PARALLEL };
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, { ...how, salt }, HASH_BYTES);
  return `scrypt.${LOG_COST}.${BLOCK_SIZE}.${PARALLEL}.${salt.toString('base64url')}.${hash.toString('base64url')}`;
}

/** Takes the same time for a right and a wrong password. */
export async function passwordFits(password: string, text: string): Promise<boolean> {
  const known = parsePasswordHash(text);
  if (known === null) return false;
  const hash = await derive(password, known, known.hash.length);
  return timingSafeEqual(hash, known.hash);
}

function derive(
  password: string,
  { logCost, blockSize, parallel, salt }: Omit<PasswordHash, 'hash'>,
  bytes: number,
): Promise<Buffer> {
  const options = { N: 2 ** logCost, r: blockSize, p: parallel, maxmem: 2 * MEMORY_MAX_BYTES };
  return new Promise((resolve, reject) => {
    scrypt(password, salt, bytes, options, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}
