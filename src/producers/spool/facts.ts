/** The records of a spool's log, as they stand in it. Short keys: there are many of them. */
import type {
  PendingBlob,
  RouteMark,
  SpoolBatch,
  TrimMark,
  UnfinishedVerdict,
  Verdict,
} from './types.js';

/** The whole state; first record of every segment. */
export interface Checkpoint {
  t: 'checkpoint';
  v: 1;
  journal: string;
  stream: string;
  streamSince: number;
  last: number;
  captured: number;
  settled: number;
  truncated: { sequence: number; bootId: string } | null;
  trim: TrimMark | null;
  blobVersion: number;
  blobs: PendingBlob[];
  /** Without `chain` in spools of versions that had none. */
  routes: (Omit<RouteMark, 'chain'> & Partial<Pick<RouteMark, 'chain'>>)[];
  batches: SpoolBatch[];
  /** Absent in spools of versions that had no `skip`. */
  unfinished?: UnfinishedVerdict[];
  /** Absent in spools of versions that had no archive. */
  archived?: number | null;
  /** Absent in spools of versions that had no chain. */
  chain?: string;
  chainBefore?: string;
  chainSince?: number;
}

export type Fact =
  | Checkpoint
  /** A batch is sealed. Without `file` its payload is this record's. */
  | {
      t: 'seal';
      seq: number;
      bytes: number;
      sha: string;
      at: number;
      ino: number;
      boot: string;
      off?: number;
      follows?: number;
      trim?: number;
      file?: string;
    }
  | { t: 'truncated'; seq: number; boot: string }
  | { t: 'settled'; seq: number }
  | { t: 'trim'; seq: number; bytes: number; ino: number }
  | { t: 'route'; d: string; after: number }
  | { t: 'rename'; d: string; to: string }
  | { t: 'drop'; d: string }
  | { t: 'orphaned'; d: string; on: boolean }
  | { t: 'accepted'; d: string; seq: number }
  /** `b`: payload of a replay among it. */
  | { t: 'ack'; d: string; seq: number; b?: number }
  | { t: 'generation'; d: string; n: number }
  | { t: 'verdict'; d: string; verdict: Verdict }
  /** The oldest unfinished verdict of a route is in Redis and in the audit log. */
  | { t: 'finished'; d: string }
  /** The batch of that skip turned out to be confirmed before Redis heard of the skip. */
  | { t: 'confirmedAfterAll'; d: string }
  | { t: 'stream'; id: string }
  /** Whether what is confirmed is held until the archive has it. */
  | { t: 'archiving'; on: boolean }
  /** The archive needs nothing up to here any more. */
  | { t: 'archived'; seq: number }
  | { t: 'blob'; link: string; text: string; version: number; after: number }
  | { t: 'blobConfirmed'; link: string; version: number; d: string }
  | { t: 'blobDone'; link: string; version: number };

/**
 * Facts whose loss means "once more" and nothing else: they are written without a sync, and a
 * producer that finds them in the log need not know whether a power cut could still take them.
 */
const MAY_VANISH: ReadonlySet<Fact['t']> = new Set([
  'truncated',
  'settled',
  'orphaned',
  'accepted',
  'ack',
  'confirmedAfterAll',
  'blobConfirmed',
  'blobDone',
  'archiving',
  'archived',
]);

export function mayVanish(fact: Fact): boolean {
  return MAY_VANISH.has(fact.t);
}

/** Where a record came to lie: its segment's file name and the offset of its payload there. */
export interface FactPlace {
  file: string;
  payloadOffset: number;
}
