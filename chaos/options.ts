import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

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

export class UsageError extends Error {}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): ChaosOptions {
  const { values } = parse(args);
  const peer = PEERS.find((name) => name === values.peer);
  if (peer === undefined) throw new UsageError(`--peer is one of ${PEERS.join(', ')}`);
  if (values.payloads !== 'spool' && values.payloads !== 'redis') {
    throw new UsageError('--payloads is spool or redis');
  }
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new UsageError('--minutes is a number above 0');
  const journals = Number(values.journals);
  if (!Number.isInteger(journals) || journals < 1 || journals > 100) {
    throw new UsageError('--journals is a whole number from 1 to 100');
  }
  return {
    minutes,
    seed: values.seed ?? String(randomInt(1_000_000)),
    peer,
    payloads: values.payloads,
    journals: peer === 'picolisp' ? 1 : journals,
    shortStops: values['short-stops'],
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string', default: '2' },
        seed: { type: 'string' },
        peer: { type: 'string', default: 'receiver' },
        payloads: { type: 'string', default: 'spool' },
        journals: { type: 'string', default: '4' },
        'short-stops': { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
