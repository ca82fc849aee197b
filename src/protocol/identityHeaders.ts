import type { BlobIdentity, WireIdentity } from '../common/identity.js';

/*
 * Request headers that receivers of ours understand and PicoLisp's `lib/http.l` ignores:
 *
 *   Idempotency-Key = DQUOTE stream "." ( sequence "." previous / "blob." version ) DQUOTE
 *   stream          = 32 lower-case hexadecimal digits
 *   sequence        = version = positive        ; 1 .. 2^53 - 1, no leading zero
 *   previous        = "0" / positive
 *   Content-Digest  = "sha-256=:" base64 ":"    ; RFC 9530, one algorithm; of the body's data alone
 *   Upload-Length   = 1*15DIGIT                 ; of a blob that ends with the connection (`eof`)
 *
 * The value of Idempotency-Key is an RFC 8941 string, as in the IETF draft of that header.
 */

const BATCH = /^"([0-9a-f]{32})\.([1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})"$/;
const BLOB = /^"([0-9a-f]{32})\.blob\.([1-9][0-9]{0,15})"$/;
const DIGEST = /^sha-256=:([A-Za-z0-9+/]{43}=):$/;
const SHA256_HEX = /^[0-9a-f]{64}$/;

/** `Idempotency-Key` of a batch. */
export function formatBatchKey(identity: WireIdentity): string {
  return `"${identity.stream}.${identity.sequence}.${identity.previous}"`;
}

/** `Idempotency-Key` of a blob. */
export function formatBlobKey(identity: BlobIdentity): string {
  return `"${identity.stream}.blob.${identity.version}"`;
}

/** `Content-Digest` from 64 hexadecimal digits. */
export function formatDigest(sha256: string): string {
  if (!SHA256_HEX.test(sha256)) throw new RangeError('sha256 must be 64 lower-case hex digits');
  return `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`;
}

export type ParsedKey =
  | { kind: 'batch'; stream: string; sequence: number; previous: number }
  | { kind: 'blob'; stream: string; version: number };

/** The identity in an `Idempotency-Key`; null when it is not of this grammar. */
export function parseIdempotencyKey(value: string): ParsedKey | null {
  const [, stream, sequence, previous] = BATCH.exec(value) ?? [];
  if (stream !== undefined && sequence !== undefined && previous !== undefined) {
    const parsed = { sequence: Number(sequence), previous: Number(previous) };
    if (!Number.isSafeInteger(parsed.sequence) || parsed.previous >= parsed.sequence) return null;
    return { kind: 'batch', stream, ...parsed };
  }
  const [, blobStream, version] = BLOB.exec(value) ?? [];
  if (blobStream === undefined || version === undefined) return null;
  if (!Number.isSafeInteger(Number(version))) return null;
  return { kind: 'blob', stream: blobStream, version: Number(version) };
}

/** The SHA-256 of a `Content-Digest` in hexadecimal; null when it is of another form. */
export function parseDigest(value: string): string | null {
  const base64 = DIGEST.exec(value)?.[1];
  return base64 === undefined ? null : Buffer.from(base64, 'base64').toString('hex');
}
