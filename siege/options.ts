import { parseArgs } from 'node:util';

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

export class UsageError extends Error {}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): SiegeOptions {
  const number = (name: string, text: string, min: number, max: number): number => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw new UsageError(`--${name} is a whole number from ${min} to ${max}`);
  };
  const { seconds, ours, theirs, held, p99 } = parse(args);
  return {
    seconds: number('seconds', seconds, 1, 86_400),
    ours: number('ours', ours, 1, 1_000),
    theirs: number('theirs', theirs, 0, 200),
    held: number('held', held, 0, 2_000),
    p99Ms: p99 === 'off' ? null : number('p99', p99, 1, 60_000),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        seconds: { type: 'string', default: '120' },
        ours: { type: 'string', default: '80' },
        theirs: { type: 'string', default: '20' },
        held: { type: 'string', default: '400' },
        p99: { type: 'string', default: '250' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
