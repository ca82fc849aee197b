import { type Chain, chainText, parseChain } from '../common/chain.js';
import { FerryError } from '../common/errors.js';
import type { ShownChain } from './report.js';

/** What one side says of a stream, as it is pasted at the other: `stream:since:through:chain`. */
export interface ChainLine {
  stream: string;
  chain: Chain;
}

const LINE = /^([0-9a-f]{32}):(.*)$/;

/** @throws FerryError EXPECT_INVALID (kind usage) */
export function parseLine(text: string): ChainLine {
  const [, stream, rest] = LINE.exec(text.trim()) ?? [];
  const chain = rest === undefined ? null : parseChain(rest);
  if (stream === undefined || chain === null || chain.head === '') {
    throw new FerryError('EXPECT_INVALID', `${JSON.stringify(text)} is no line of ferry verify`, {
      kind: 'usage',
      hint: 'copy what stands behind --expect in the output of ferry verify at the other side',
    });
  }
  return { stream, chain };
}

/** @param stream null: without identity, so there is nothing to compare by a line */
export function shown(stream: string | null, chain: Chain): ShownChain {
  if (chain.head === '') return { since: 0, through: 0, head: null, line: null };
  const line = stream === null ? null : `${stream}:${chainText(chain)}`;
  return { ...chain, line };
}
