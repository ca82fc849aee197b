import { createHash } from 'node:crypto';
import { parseDigest, parseIdempotencyKey } from '../../src/protocol/identityHeaders.js';
import type { Findings } from '../findings.js';
import type { Send } from '../ledger.js';
import { scan } from '../records.js';

/** The commit byte, and the answer. */
export const T = 0x54;

/** What a request says before its payload. */
export interface Announced {
  journal: string;
  stream: string;
  sequence: number;
  previous: number;
  sha256: string;
  bytes: number;
}

export type ParsedHead = 'more' | 'refused' | { announced: Announced; length: number };

export interface HeadRules {
  keyText: string;
  /** The journal by the request's head; undefined: no url of ours. */
  journalOf(request: string): string | undefined;
  /** Learns of what is no batch of ours. */
  refuse(request: string): void;
}

/** Request head, key, length. */
export function parseHead(head: Buffer, rules: HeadRules): ParsedHead {
  const headEnd = head.indexOf('\r\n\r\n');
  if (headEnd < 0) return 'more';
  const keyEnd = head.indexOf('\n', headEnd + 4);
  const lineEnd = keyEnd < 0 ? -1 : head.indexOf('\n', keyEnd + 1);
  if (lineEnd < 0) return 'more';
  const request = head.subarray(0, headEnd).toString('latin1');
  const journal = rules.journalOf(request);
  const key = parseIdempotencyKey(/^Idempotency-Key: (.*)$/m.exec(request)?.[1]?.trim() ?? '');
  const sha256 = parseDigest(/^Content-Digest: (.*)$/m.exec(request)?.[1]?.trim() ?? '');
  const bytes = head.subarray(keyEnd + 1, lineEnd).toString('latin1');
  const keyIsRight = head.subarray(headEnd + 4, keyEnd + 1).toString('latin1') === rules.keyText;
  const understood = journal !== undefined && key?.kind === 'batch' && sha256 !== null;
  if (!understood || !keyIsRight || !/^\d+$/.test(bytes)) {
    rules.refuse(request);
    return 'refused';
  }
  const { stream, sequence, previous } = key;
  return {
    announced: { journal, stream, sequence, previous, sha256, bytes: Number(bytes) },
    length: lineEnd + 1,
  };
}

/**
 * Payload and the byte behind it. null: a replica would not apply it.
 *
 * @param scanned whether the payload is numbered records; those of a database are not
 */
export function wholeSend(
  announced: Announced,
  all: Buffer,
  at: Pick<Send, 'connection' | 'connectedAt' | 'startedAt' | 'tAt'>,
  findings: Findings,
  scanned?: 'records',
): Send | null {
  const payload = all.subarray(0, announced.bytes);
  const where = `${announced.journal} sequence ${announced.sequence}, connection ${at.connection}`;
  if (all.length !== announced.bytes + 1 || all[announced.bytes] !== T) {
    findings.add('torn', `${where}: no single T behind ${announced.bytes} bytes`);
    return null;
  }
  if (createHash('sha256').update(payload).digest('hex') !== announced.sha256) {
    findings.add('torn', `${where}: the digest is another one`);
  }
  const none = { runs: [], torn: [] };
  const { runs, torn } = scanned === undefined ? none : scan(announced.journal, payload);
  for (const text of torn) findings.add('torn', `${where}: ${text}`);
  return { ...announced, ...at, runs, endAt: 0 };
}
