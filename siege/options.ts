import { parseArgs } from 'node:util';
import { asUsage, wholeNumber } from '../chaos/program.js';

export interface SiegeOptions {
  seconds: number;
  /** Sources that send with our own sender. */
  ours: number;
  /** Sources that are shipped by the real bin/ssl. */
  theirs: number;
  /** Connections that hostile clients hold open, beside those that they make anew all the time. */
  held: number;
  /** What the 99th percentile of an honest small batch must stay below; null: it is only told. */
  p99Ms: number | null;
}

export const USAGE = `usage: npm run siege -- [--seconds N] [--ours N] [--theirs N] [--held N] [--p99 MS|off]

  --seconds  how long (120)
  --ours     sources with our sender (80)
  --theirs   sources with the real bin/ssl (20)
  --held     connections that hostile clients hold open (400; the receiver has 256 places)
  --p99      bound of an honest small batch in ms (250); off: told, not judged
`;

const OPTIONS = {
  seconds: { type: 'string', default: '120' },
  ours: { type: 'string', default: '80' },
  theirs: { type: 'string', default: '20' },
  held: { type: 'string', default: '400' },
  p99: { type: 'string', default: '250' },
} as const;

/** @throws UsageError */
export function parseOptions(args: readonly string[]): SiegeOptions {
  const { seconds, ours, theirs, held, p99 } = asUsage(() =>
    parseArgs({ args: [...args], options: OPTIONS }),
  ).values;
  return {
    seconds: wholeNumber('seconds', seconds, 1, 86_400),
    ours: wholeNumber('ours', ours, 1, 1_000),
    theirs: wholeNumber('theirs', theirs, 0, 200),
    held: wholeNumber('held', held, 0, 2_000),
    p99Ms: p99 === 'off' ? null : wholeNumber('p99', p99, 1, 60_000),
  };
}
