import type { RefusalReason } from './identity.js';
import type { Refusal } from './request.js';

/** How a request is refused. */
export interface Answer {
  /** For the log and for `reason` in the answer. */
  reason: string;
  /** A whole HTTP answer, or null: closed without a byte, as the real peers do. */
  http: string | null;
}

/** `HTTP/1.0` with an `application/problem+json` body (RFC 9457). */
function problem(status: string, body: Readonly<Record<string, unknown>>): string {
  const json = `${JSON.stringify({ status: Number(status.slice(0, 3)), ...body })}\n`;
  return [
    `HTTP/1.0 ${status}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(json)}`,
    '',
    json,
  ].join('\r\n');
}

function silent(reason: string): Answer {
  return { reason, http: null };
}

function answer(reason: string, status: string): Answer {
  return { reason, http: problem(status, { reason }) };
}

/** Whoever has not proved a key learns nothing but whether the app exists. */
export const ANSWERS: Readonly<Record<Refusal | 'excess' | 'too-large' | 'storage', Answer>> = {
  malformed: silent('malformed'),
  'wrong-key': silent('wrong-key'),
  'not-committed': silent('not-committed'),
  excess: silent('excess'),
  'unknown-app': answer('unknown-app', '404 Not Found'),
  'malformed-identity': answer('malformed-identity', '400 Bad Request'),
  'blob-path': answer('blob-path', '403 Forbidden'),
  'too-large': answer('too-large', '413 Content Too Large'),
  cut: answer('cut', '400 Bad Request'),
  storage: answer('storage', '503 Service Unavailable'),
};

/** The answer to a batch or blob that is out of place. */
export function refusedIdentity(reason: RefusalReason, last: number): Answer {
  return { reason, http: problem('409 Conflict', { reason, last }) };
}
