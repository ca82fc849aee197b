import { parseArgs } from 'node:util';
import { asUsage, wholeNumber } from '../chaos/program.js';

export interface WeekOptions {
  /** Failed attempts per dead route: 7 days at the default interval of 20 s are 30,240. */
  attempts: number;
  journals: number;
  /** Scaled down from 20 s. */
  intervalMs: number;
  /** `limits.spool` of each journal. */
  spoolBytes: number;
}

export const USAGE = `usage: npm run week -- [--attempts N] [--journals J] [--interval MS] [--spool KIB]

  --attempts   failed attempts of each dead route (30240: a week at 20 s)
  --journals   how many, each with a dead and a live route (3)
  --interval   between two attempts, in ms (5)
  --spool      limits.spool of each journal, in KiB (4096)
`;

const OPTIONS = {
  attempts: { type: 'string', default: '30240' },
  journals: { type: 'string', default: '3' },
  interval: { type: 'string', default: '5' },
  spool: { type: 'string', default: '4096' },
} as const;

/** @throws UsageError */
export function parseOptions(args: readonly string[]): WeekOptions {
  const { attempts, journals, interval, spool } = asUsage(() =>
    parseArgs({ args: [...args], options: OPTIONS }),
  ).values;
  return {
    attempts: wholeNumber('attempts', attempts, 100, 1_000_000),
    journals: wholeNumber('journals', journals, 1, 50),
    intervalMs: wholeNumber('interval', interval, 1, 60_000),
    spoolBytes: wholeNumber('spool', spool, 64, 1_000_000) * 1024,
  };
}
