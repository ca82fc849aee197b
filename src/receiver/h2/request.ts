import type { IncomingHttpHeaders } from 'node:http2';
import { parseDigest, parseIdempotencyKey } from '../../protocol/identityHeaders.js';
import type { ANSWERS } from '../answers.js';
import type { KeySet } from '../keys.js';
import { blobPathTrouble } from '../names.js';
import type { Announced, RequestHead } from '../request.js';

/** `/<app>` or `/<app>/blobs/<path>`; no query. */
const PATH =
  /^\/([\x21\x22\x24-\x2e\x30-\x3e\x40-\x7e]+)(?:\/blobs\/([\x21\x22\x24-\x3e\x40-\x7e]*))?$/;
const BEARER = /^Bearer +(.+)$/i;
/** Sixteen digits could leave the safe integers. */
const LENGTH = /^[0-9]{1,15}$/;

type Refused = { refused: keyof typeof ANSWERS };

export interface H2Request {
  head: RequestHead;
  body: Announced & { bytes: number };
}

/**
 * What a request's headers say, and whether its sender has proved a key.
 *
 * @param isEmpty the stream ended with its headers
 * @param keysOf the keys of an app; null: no such app
 */
export function readRequest(
  headers: IncomingHttpHeaders,
  isEmpty: boolean,
  keysOf: (app: string) => KeySet | null,
): H2Request | Refused {
  const [, encodedApp, encodedPath] = PATH.exec(headers[':path'] ?? '') ?? [];
  const app = decoded(encodedApp ?? '');
  const keys = app === null ? null : keysOf(app);
  if (app === null || keys === null) return { refused: 'unknown-app' };
  const method = encodedPath === undefined ? 'POST' : 'PUT';
  if (headers[':method'] !== method) return { refused: 'method' };
  const [, token] = BEARER.exec(headers.authorization ?? '') ?? [];
  if (token === undefined) return { refused: 'no-key' };
  // A key file ends in a newline, which no header can hold.
  if (keys.match(Buffer.from(`${token}\n`, 'latin1')) !== 'key') return { refused: 'wrong-key' };

  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') return { refused: 'encoded' };
  const length = headers['content-length'] ?? (isEmpty ? '0' : undefined);
  if (length === undefined) return { refused: 'no-length' };
  if (!LENGTH.test(length)) return { refused: 'malformed' };
  const bytes = Number(length);
  if (isEmpty && bytes > 0) return { refused: 'malformed' };

  const head: RequestHead = { app, identity: null, sha256: null, uploadBytes: null };
  const key = headers['idempotency-key'];
  if (key !== undefined) {
    head.identity = typeof key === 'string' ? parseIdempotencyKey(key) : null;
    if (head.identity === null) return { refused: 'malformed-identity' };
  }
  const digest = headers['content-digest'];
  if (digest !== undefined) {
    head.sha256 = typeof digest === 'string' ? parseDigest(digest) : null;
    if (head.sha256 === null) return { refused: 'malformed-identity' };
  }
  if (head.identity !== null && (head.identity.kind === 'batch') !== (encodedPath === undefined)) {
    return { refused: 'malformed-identity' };
  }
  if (encodedPath === undefined) return { head, body: { kind: 'batch', bytes } };
  const path = decoded(encodedPath);
  if (path === null || blobPathTrouble(path) !== null) return { refused: 'blob-path' };
  return { head, body: { kind: 'blob', path, bytes } };
}

/** Percent-decoded, once; null when that is no UTF-8. */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
