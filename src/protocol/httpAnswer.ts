import type { FerryError } from '../common/errors.js';
import { wireError } from './errors.js';

/** Longest HTTP answer that is read before it is judged by what came so far. */
export const HTTP_ANSWER_MAX_BYTES = 64 * 1024;

const STATUS_LINE = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: ([^\r\n]{0,200}))?\r?\n/;

/** Reasons for which sending the very same again can help. */
const PASSING_REASONS = new Set(['corrupted']);

/** True when the answer is whole by its own Content-Length; false: read on until EOF or limit. */
export function isCompleteAnswer(answer: Buffer): boolean {
  const text = answer.toString('latin1');
  const end = /\r?\n\r?\n/.exec(text);
  if (end === null) return false;
  const length = /^content-length:[ \t]*([0-9]{1,9})[ \t]*$/im.exec(text.slice(0, end.index))?.[1];
  if (length === undefined) return false;
  return text.length >= end.index + end[0].length + Number(length);
}

/**
 * The error that an answer beginning with `H` stands for: IDENTITY_REFUSED for our receiver's 409
 * (context `reason`, `last`), HTTP_ANSWER with its `status`, else PROTOCOL_ERROR.
 */
export function httpAnswerError(answer: Buffer): FerryError {
  const text = answer.toString('utf8');
  const [head = '', status, phrase = ''] = STATUS_LINE.exec(text) ?? [];
  if (status === undefined) {
    return wireError('PROTOCOL_ERROR', 'the server answered neither `T` nor HTTP');
  }
  return statusError(Number(status), phrase.trim(), problemIn(text.slice(head.length)));
}

/**
 * The error that a status and what the answer says about it stand for, on either wire.
 *
 * @param problem the answer's `application/problem+json`, or anything else that it holds
 */
export function statusError(
  status: number,
  phrase: string,
  problem: Readonly<Record<string, unknown>>,
): FerryError {
  const reason = typeof problem['reason'] === 'string' ? problem['reason'] : null;
  if (reason !== null && (status === 409 || status === 422)) {
    const last = typeof problem['last'] === 'number' ? problem['last'] : null;
    return wireError('IDENTITY_REFUSED', `the receiver refused the batch: ${reason}`, {
      hint: hintFor(reason, last),
      retry: PASSING_REASONS.has(reason),
      context: { reason, last },
    });
  }
  const ours = reason === null ? undefined : RECEIVER_REASONS[reason];
  if (reason !== null && ours !== undefined) {
    const { retryAfter } = problem;
    const again = typeof retryAfter === 'number' ? `, again in ${retryAfter} s` : '';
    return wireError(ours, `${RECEIVER_WORDS[ours]}: ${reason}${again}`, {
      context: { status, reason },
    });
  }
  const words = [`the server answered HTTP ${status}`, phrase].filter((word) => word !== '');
  const hint = STATUS_HINTS[status];
  return wireError('HTTP_ANSWER', `${words.join(' ')}${reason === null ? '' : `: ${reason}`}`, {
    context: { status },
    ...(hint === undefined ? {} : { hint }),
  });
}

/** What a receiver of ours says of itself, not of the batch: later the same batch is taken. */
const RECEIVER_REASONS: Readonly<Record<string, 'RECEIVER_LIMIT' | 'NOT_APPLIED'>> = {
  'too-many-requests': 'RECEIVER_LIMIT',
  'too-many-bytes': 'RECEIVER_LIMIT',
  'app-full': 'RECEIVER_LIMIT',
  'not-applied': 'NOT_APPLIED',
};

const RECEIVER_WORDS = {
  RECEIVER_LIMIT: 'the receiver’s limit for this app is reached',
  NOT_APPLIED: 'the receiver has stored it, and its apply command fails',
} as const;

/** Where a receiver of ours says more than that it is not the replica. */
const STATUS_HINTS: Readonly<Record<number, string>> = {
  413: 'raise the receiver’s limits.maxBatch or limits.maxBlob',
  503: 'see the receiver’s log; the batch stays here and is sent again',
  507: 'make room on the receiver’s disk; the batch stays here and is sent again',
};

/** The problem of an HTTP/1 answer, behind its status line; `{}` when it holds none. */
function problemIn(rest: string): Record<string, unknown> {
  const body = rest.split(/\r?\n\r?\n/, 2)[1] ?? '';
  return /^content-type:[ \t]*application\/problem\+json/im.test(rest) ? parseProblem(body) : {};
}

/** `{}` when it is no JSON object. */
export function parseProblem(body: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(body);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
  } catch {
    return {};
  }
}

function hintFor(reason: string, last: number | null): string {
  switch (reason) {
    case 'gap':
      return `the receiver holds this stream up to ${last}; if it was restored from a backup: ferry replay ROUTE --from ${(last ?? 0) + 1}`;
    case 'unknown-stream':
      return 'the receiver has nothing of this stream; if it is new, or older than the stream: ferry replay ROUTE --from 1';
    case 'digest-mismatch':
      return 'the receiver holds other bytes under this number: compare both before going on';
    case 'corrupted':
      return 'the bytes changed on the way; the next attempt sends them again';
    default:
      return 'see the receiver’s log';
  }
}
