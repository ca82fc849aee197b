import { type Chain, parseChain } from '../common/chain.js';
import type { BlobSent } from './jobs.js';

/** The failure of an attempt as Redis, status and dashboard show it. Never payload nor key. */
export interface RouteError {
  code: string;
  message: string;
  hint?: string;
  /** Why a receiver of ours refused, for IDENTITY_REFUSED. */
  reason?: string;
  /** ms since the epoch */
  at: number;
}

/** A route's hash, parsed. Fields as in `scripts/open.lua`. */
export interface RouteState {
  stream: string;
  generation: number;
  run: string;
  /** That run may have lost its last writes when it ended, or have been left behind by another. */
  mayLose: boolean;
  head: number;
  tail: number;
  previous: number;
  /** Who sends the head now; '' for nobody. */
  holder: string;
  /** How many sends there were. */
  epoch: number;
  sending: boolean;
  paused: boolean;
  blocked: number | null;
  attempts: number;
  error: RouteError | null;
  batches: number;
  bytes: number;
  repeats: number;
  /** Of what is confirmed, as its workers have chained it; null: not known. */
  chain: Chain | null;
}

export interface BlobStates {
  /** By blob key: the last version that was confirmed, and what was sent of it. */
  confirmed: Map<string, { version: number; sent: BlobSent }>;
  /** So many have an error of their own, and not one that all of the destination would have. */
  failing: number;
}

/** @returns null for an empty hash: the route is unknown */
export function parseState(hash: Record<string, string>): RouteState | null {
  const { stream, error } = hash;
  if (stream === undefined) return null;
  const count = (field: string): number => Number(hash[field] ?? 0);
  return {
    stream,
    generation: count('generation'),
    run: hash['run'] ?? '',
    mayLose: hash['mayLose'] !== '0',
    head: count('head'),
    tail: count('tail'),
    previous: count('previous'),
    holder: hash['holder'] ?? '',
    epoch: count('epoch'),
    sending: (hash['holder'] ?? '') !== '',
    paused: hash['paused'] === '1',
    blocked: hash['blocked'] ? Number(hash['blocked']) : null,
    attempts: count('attempts'),
    error: error ? (JSON.parse(error) as RouteError) : null,
    batches: count('batches'),
    bytes: count('bytes'),
    repeats: count('repeats'),
    chain: chainOf(hash['chain'] ?? '', count('previous')),
  };
}

/** One that ends elsewhere was left behind by a version that does not know the field. */
export function chainOf(text: string, previous: number): Chain | null {
  const chain = parseChain(text);
  return chain?.through === previous ? chain : null;
}
