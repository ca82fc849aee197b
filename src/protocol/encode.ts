import { FerryError } from '../common/errors.js';
import type { BlobIdentity, WireIdentity } from '../common/identity.js';
import type { Endpoint } from './endpoint.js';
import { formatBatchKey, formatBlobKey, formatDigest } from './identityHeaders.js';

/** What a request carries. The path of a blob is the text of its link, relative to the blob folder. */
export type Body = { kind: 'batch' } | { kind: 'blob'; path: string };

const NEWLINE = 0x0a;

/** The byte that ends data and asks for the commit, and that the server answers with. */
export const COMMIT_BYTE = Buffer.from('T');

/** A path longer than this fits no file system of ours. */
export const BLOB_PATH_MAX_BYTES = 4_096;

/**
 * What PicoLisp's `(format)` takes for a number, measured with 23.2: blanks, a sign, digits, a
 * fraction. A replica would read such a blob path as the length of a journal.
 */
export const READS_AS_NUMBER = /^\s*[+-]?[0-9]+(\.[0-9]*)?$/;

function usage(code: string, message: string, hint: string): FerryError {
  return new FerryError(code, message, { kind: 'usage', hint });
}

/**
 * Everything before the data: request head, key, and the lines that announce the body.
 *
 * @param bytes length of the data
 * @throws FerryError KEY_WITHOUT_NEWLINE, URL_INVALID, BLOB_PATH_INVALID
 */
export function encodeHead(
  endpoint: Endpoint,
  body: Body,
  bytes: number,
  identity: WireIdentity | BlobIdentity | undefined,
): Buffer {
  const uploadBytes = endsWithEof(body, endpoint.dialect) ? bytes : undefined;
  return Buffer.concat([
    Buffer.from(requestHead(endpoint, identity, uploadBytes)),
    checkedKey(endpoint),
    Buffer.from(announcement(body, bytes, endpoint.dialect)),
  ]);
}

/** A blob of the 2015 dialect has no commit byte: the connection's end is its own. */
export function endsWithEof(body: Body, dialect: Endpoint['dialect']): boolean {
  return body.kind === 'blob' && dialect === 'eof';
}

/**
 * The request line and headers with their blank line, as bin/ssl writes them (2022), and the
 * identity headers if there is an identity.
 *
 * @param uploadBytes length of a blob that ends with the connection: a receiver of ours can tell its
 *   end from that of a sender that was killed
 */
export function requestHead(
  endpoint: Pick<Endpoint, 'url' | 'host' | 'port' | 'hostHeader'>,
  identity?: WireIdentity | BlobIdentity,
  uploadBytes?: number,
): string {
  checkUrl(endpoint.url);
  const host = endpoint.hostHeader ?? `${endpoint.host}:${endpoint.port}`;
  const lines = headLines(endpoint.url, host);
  if (identity !== undefined) {
    const batch = 'sequence' in identity;
    lines.push(`Idempotency-Key: ${batch ? formatBatchKey(identity) : formatBlobKey(identity)}`);
    if (identity.sha256 !== undefined) {
      lines.push(`Content-Digest: ${formatDigest(identity.sha256)}`);
    }
    if (uploadBytes !== undefined) lines.push(`Upload-Length: ${uploadBytes}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** @throws FerryError URL_INVALID */
export function checkUrl(url: string): void {
  if (/^[\x21-\x7e]+$/.test(url)) return;
  throw usage(
    'URL_INVALID',
    'the url holds blanks, control or non-ASCII characters, or is empty',
    'write it as `name.r/!replica`, anything else percent-encoded',
  );
}

function headLines(url: string, host: string): string[] {
  return [`GET /${url} HTTP/1.0`, 'User-Agent: PicoLisp', `Host: ${host}`, 'Accept-Charset: utf-8'];
}

/** bin/ssl's request for any url, unchecked, with `host:port` as they were given. */
export function plainRequest(url: string, host: string): string {
  return `${headLines(url, host).join('\r\n')}\r\n\r\n`;
}

/** The lines between key and data. */
export function announcement(body: Body, bytes: number, dialect: Endpoint['dialect']): string {
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`length ${bytes}`);
  if (body.kind === 'batch') return `${bytes}\n`;
  checkBlobPath(body.path);
  return endsWithEof(body, dialect) ? `${body.path}\n` : `${body.path}\n${bytes}\n`;
}

/** @throws FerryError BLOB_PATH_INVALID if a replica could not take this path for a blob's. */
export function checkBlobPath(path: string): void {
  const trouble = blobPathTrouble(path);
  if (trouble === null) return;
  throw usage(
    'BLOB_PATH_INVALID',
    `a blob path that ${trouble} cannot be sent`,
    'rename what the link points to',
  );
}

function blobPathTrouble(path: string): string | null {
  if (path === '') return 'is empty';
  if (path.includes('\n') || path.includes('\0')) return 'holds a newline or NUL';
  if (READS_AS_NUMBER.test(path)) return 'reads as a number';
  if (Buffer.byteLength(path) > BLOB_PATH_MAX_BYTES) return 'is too long';
  return null;
}

function checkedKey(endpoint: Endpoint): Buffer {
  if (endpoint.key.at(-1) !== NEWLINE) {
    throw new FerryError('KEY_WITHOUT_NEWLINE', 'the key does not end in a newline', {
      kind: 'destination',
      hint: 'the server would wait for the rest of the line for ever: add a newline to the key file',
      context: { destination: endpoint.name },
    });
  }
  return endpoint.key;
}
