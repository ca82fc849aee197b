import { READS_AS_NUMBER } from '../protocol/encode.js';

/*
 * Names that come over the wire and become names on our disk. Everything not clearly harmless is
 * refused; the answers are sentences' ends for logs and answers, null means fine.
 */

/** Bytes; the usual limit of a file name. */
const NAME_MAX_BYTES = 255;
/** An app's folder name; shorter than the file system's limit, names this long are accidents. */
const APP_MAX_LENGTH = 128;
/** Bytes of a whole blob path, below PATH_MAX with room for the data folder's own path. */
const BLOB_PATH_MAX_BYTES = 2_048;
const BLOB_DEPTH_MAX = 64;

const APP_NAME = /^[A-Za-z0-9_+@=-][A-Za-z0-9_.+@=-]*$/;

/** Whether an app of this name may be a folder of ours. */
export function isSafeAppName(name: string): boolean {
  return name.length <= APP_MAX_LENGTH && APP_NAME.test(name) && !name.includes('..');
}

/** Why a blob path is refused, or null. */
export function blobPathTrouble(path: string): string | null {
  if (path === '') return 'empty';
  if (Buffer.byteLength(path) > BLOB_PATH_MAX_BYTES) return 'too long';
  if (hasControlCharacter(path)) return 'control character';
  if (READS_AS_NUMBER.test(path)) return 'reads as a number';
  if (path.startsWith('/')) return 'absolute';
  const parts = path.split('/');
  if (parts.length > BLOB_DEPTH_MAX) return 'too deep';
  for (const part of parts) {
    if (part === '' || part === '.' || part === '..') return 'leaves or bends the folder';
    if (Buffer.byteLength(part) > NAME_MAX_BYTES) return 'name too long';
  }
  return null;
}

function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
