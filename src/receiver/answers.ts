import { FerryError, systemCode } from '../common/errors.js';
import type { RefusalReason } from './identity.js';

/** How a request is refused, on either wire. */
export interface Answer {
  /** For the log, the metrics, and `reason` in the answer. */
  reason: string;
  /** Over HTTP/2. */
  status: number;
  /** On the old wire; null: closed without a byte, as the real peers do. */
  oldStatus: number | null;
  /** What is held of the sender's stream; with 409 and 422 only. */
  last?: number;
  /** After so many seconds it may be taken; with the limits of an app only. */
  retryAfter?: number;
}

/** Of the old wire's answers; HTTP/2 has none. */
const PHRASES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  413: 'Content Too Large',
  429: 'Too Many Requests',
  503: 'Service Unavailable',
  507: 'Insufficient Storage',
};

/** @param oldStatus left out: the same as over HTTP/2 */
function answer(reason: string, status: number, oldStatus: number | null = status): Answer {
  return { reason, status, oldStatus };
}

/** Whoever has not proved a key learns nothing but whether the app exists. */
export const ANSWERS = {
  malformed: answer('malformed', 400, null),
  'wrong-key': answer('wrong-key', 403, null),
  'not-committed': answer('not-committed', 400, null),
  excess: answer('excess', 400, null),
  'unknown-app': answer('unknown-app', 404),
  'malformed-identity': answer('malformed-identity', 400),
  'blob-path': answer('blob-path', 403),
  'too-large': answer('too-large', 413),
  cut: answer('cut', 400),
  storage: answer('storage', 503),
  'disk-full': answer('storage', 507, 503),
  // Stored, and the apply command that is to be waited for has failed.
  'not-applied': answer('not-applied', 503),
  'app-full': answer('app-full', 507),
  // Over HTTP/2 only.
  'no-key': answer('no-key', 401, null),
  method: answer('method', 405, null),
  'no-length': answer('no-length', 411, null),
  encoded: answer('encoded', 415, null),
  slow: answer('slow', 408, null),
} satisfies Readonly<Record<string, Answer>>;

/** The answer to a batch or blob that is out of place. */
export function refusedIdentity(reason: RefusalReason, last: number): Answer {
  // The bytes are not what the digest says: no conflict with what is held, so it has its own
  // status where a client may be anybody's. On the old wire it stays what it was.
  return { ...answer(reason, reason === 'corrupted' ? 422 : 409, 409), last };
}

/** The answer when an app is beyond one of its rates. */
export function limited(reason: 'too-many-requests' | 'too-many-bytes', waitMs: number): Answer {
  return { ...answer(reason, 429), retryAfter: Math.ceil(waitMs / 1_000) };
}

/** The answer when what was received could not be stored. */
export function storageFailed(error: unknown): Answer {
  if (!(error instanceof FerryError)) return ANSWERS.storage;
  if (error.code === 'BLOB_PATH_REFUSED') return ANSWERS['blob-path'];
  return systemCode(error.cause) === 'ENOSPC' ? ANSWERS['disk-full'] : ANSWERS.storage;
}

/** The body that says why: `application/problem+json` (RFC 9457). */
export function problemOf({ reason, last, retryAfter }: Answer, status: number): string {
  const body = {
    status,
    reason,
    ...(last === undefined ? {} : { last }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
  return `${JSON.stringify(body)}\n`;
}

/** A whole `HTTP/1.0` answer of the old wire; null: none. */
export function oldWireAnswer(given: Answer): string | null {
  const { oldStatus } = given;
  if (oldStatus === null) return null;
  const json = problemOf(given, oldStatus);
  return [
    `HTTP/1.0 ${oldStatus} ${PHRASES[oldStatus]}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(json)}`,
    ...(given.retryAfter === undefined ? [] : [`Retry-After: ${given.retryAfter}`]),
    '',
    json,
  ].join('\r\n');
}
