import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { asUsage, UsageError, wholeNumber } from './program.js';

export const PEERS = ['receiver', 'h2', 'sink', 'picolisp'] as const;
export type PeerName = (typeof PEERS)[number];

export interface ChaosOptions {
  /** How long events happen; healing and checking come after it. */
  minutes: number;
  seed: string;
  peer: PeerName;
  payloads: 'spool' | 'redis';
  journals: number;
  /** No process stands still for longer than its lease. */
  shortStops: boolean;
}

export const USAGE = `usage: npm run chaos -- [--minutes N] [--seed S] [--peer receiver|h2|sink|picolisp]
                         [--payloads spool|redis] [--journals J] [--short-stops]

  --minutes     how long things go wrong (2); then everything is healed and counted
  --seed        the events follow from it, as far as scheduling allows (random)
  --peer        receiver: ferry receiver. h2: the same over HTTP/2. sink: a server that counts
                every send as PicoLisp's replica would take it. picolisp: the real httpGate and
                replica.l, one database
  --journals    how many (4); with picolisp always 1
  --short-stops no process stands still for longer than its lease
`;

const OPTIONS = {
  minutes: { type: 'string', default: '2' },
  seed: { type: 'string' },
  peer: { type: 'string', default: 'receiver' },
  payloads: { type: 'string', default: 'spool' },
  journals: { type: 'string', default: '4' },
  'short-stops': { type: 'boolean', default: false },
} as const;

/** @throws UsageError */
export function parseOptions(args: readonly string[]): ChaosOptions {
  const values = asUsage(() => parseArgs({ args: [...args], options: OPTIONS })).values;
  const peer = PEERS.find((name) => name === values.peer);
  if (peer === undefined) throw new UsageError(`--peer is one of ${PEERS.join(', ')}`);
  if (values.payloads !== 'spool' && values.payloads !== 'redis') {
    throw new UsageError('--payloads is spool or redis');
  }
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new UsageError('--minutes is a number above 0');
  const journals = wholeNumber('journals', values.journals, 1, 100);
  return {
    minutes,
    seed: values.seed ?? String(randomInt(1_000_000)),
    peer,
    payloads: values.payloads,
    journals: peer === 'picolisp' ? 1 : journals,
    shortStops: values['short-stops'],
  };
}
