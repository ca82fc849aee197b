import { setTimeout as sleep } from 'node:timers/promises';
import { type Chain, extended } from '../common/chain.js';
import { routeName } from '../common/identity.js';
import type { RouteMark, SpoolView } from '../producers/spool/types.js';
import type { BatchJob } from '../queue/jobs.js';
import type { RouteState } from '../queue/routeState.js';
import { readSpool } from './readSpool.js';

/** A route as Redis holds it, at one moment. */
export interface RouteInRedis {
  state: RouteState | null;
  accepted: BatchJob[];
}

export type RedisVerdict =
  | { is: 'equal' }
  | { is: 'unsure'; what: string; do: string }
  | { is: 'differs'; code: string; sequence: number | null; what: string; do: string };

/** A verdict that stays so often is no matter of the moment. */
const LOOKS_UNSURE = 4;
const LOOKS_DIFFERS = 10;
const PAUSE_MS = 100;

/**
 * Compares a route in Redis with its spool, digest by digest and chain by chain. Redis is looked at
 * between two looks at the spool: whatever moves meanwhile lies between those two. What is not
 * equal is looked at again before it is believed.
 *
 * @param patient false: what Redis does not know is not waited for
 */
export async function proveInRedis(
  dir: string,
  journal: string,
  destination: string,
  look: (route: string) => Promise<RouteInRedis>,
  patient = true,
): Promise<RedisVerdict> {
  const route = routeName(journal, destination);
  for (let looks = 1; ; looks += 1) {
    const before = (await readSpool(dir))?.view;
    const seen = await look(route);
    const after = (await readSpool(dir))?.view;
    const [mark, now] = [before?.route(destination), after?.route(destination)];
    const verdict: RedisVerdict =
      before && after && mark && now
        ? compare({ view: before, mark }, seen, { view: after, mark: now })
        : unsure('the route left the spool', 'it was dropped');
    if (verdict.is === 'equal') return verdict;
    if (looks >= (verdict.is === 'differs' ? LOOKS_DIFFERS : patient ? LOOKS_UNSURE : 1))
      return verdict;
    await sleep(PAUSE_MS);
  }
}

interface Look {
  view: SpoolView;
  mark: RouteMark;
}

const AGAIN = 'say it again';
const START = 'its producer compares them and opens the route anew: start it, or wait a moment';
const AHEAD =
  'the state directory is an older copy: see Backups in docs/operations.md before anything is sent';

function compare(before: Look, { state, accepted }: RouteInRedis, after: Look): RedisVerdict {
  const { mark } = before;
  if (mark.replay !== null) return unsure('delivered batches are sent again', AGAIN);
  if (state === null) return unsure('Redis does not know the route', START);
  if (state.stream !== after.view.stream) return unsure('Redis holds another stream', START);
  const last = after.view.lastSequence;
  if (state.generation > after.mark.generation || state.head > last + 1 || state.tail > last) {
    const what = `Redis is ahead: it knows batch ${Math.max(state.head - 1, state.tail)}, the spool ends at ${last}`;
    return { is: 'differs', code: 'REDIS_AHEAD', sequence: null, what, do: AHEAD };
  }
  if (state.generation < after.mark.generation || state.generation !== mark.generation) {
    return unsure('Redis has an older generation of the route', START);
  }
  if (state.head <= mark.acked || state.tail < mark.accepted) {
    return unsure('Redis has lost what the spool knows to be confirmed', START);
  }
  return compareWaiting(state, accepted, before, after) ?? compareChain(state, before, after);
}

/** Every batch that Redis is to deliver is the one that was captured. Null: so it is. */
function compareWaiting(
  { head, tail }: RouteState,
  accepted: readonly BatchJob[],
  before: Look,
  after: Look,
): RedisVerdict | null {
  const jobs = new Map(accepted.map((job) => [job.sequence, job]));
  for (let sequence = head; sequence <= tail; sequence += 1) {
    const job = jobs.get(sequence);
    const batch = before.view.batch(sequence) ?? after.view.batch(sequence);
    if (job !== undefined && batch === undefined) return unsure('the route moves', AGAIN);
    if (job?.sha256 === batch?.sha256 && job?.bytes === batch?.bytes && job !== undefined) continue;
    return {
      is: 'differs',
      code: 'REDIS_DIFFERS',
      sequence,
      what:
        job === undefined
          ? `Redis has accepted batch ${sequence} and does not know it`
          : `batch ${sequence} in Redis is another than in the spool`,
      do: 'somebody else writes into this Redis: give it another prefix; the receiver refuses what is wrong',
    };
  }
  return null;
}

/** What the workers have chained ends where the spool's chain of the same batches ends. */
function compareChain(state: RouteState, before: Look, after: Look): RedisVerdict {
  const theirs = state.chain;
  if (theirs === null) {
    return unsure(
      'Redis has no chain of the route: a worker of an older version confirmed something',
      'restart the producer; it goes on from the chain of the spool',
    );
  }
  const ours = chainAt(state.previous, before, after);
  if (ours === null) return unsure('the route moves too fast', AGAIN);
  if (ours.since !== theirs.since) {
    return unsure('Redis chains from another batch on than the spool', 'restart the producer');
  }
  if (ours.head === theirs.head) return { is: 'equal' };
  return {
    is: 'differs',
    code: 'CHAIN_DIFFERS',
    sequence: state.previous,
    what: `through batch ${state.previous} Redis has confirmed other batches than the spool knows`,
    do: 'compare with the receiver by its line (--expect); the spool is believed, and a restart of the producer goes on from it',
  };
}

/** The spool's chain of the route when `through` was the last one confirmed; null: not known. */
function chainAt(through: number, before: Look, after: Look): Chain | null {
  if (before.mark.chain.through === through) return before.mark.chain;
  if (after.mark.chain.through === through) return after.mark.chain;
  if (through < before.mark.acked) return null;
  let { chain } = before.mark;
  for (let sequence = before.mark.acked + 1; sequence <= through; sequence += 1) {
    const batch = before.view.batch(sequence) ?? after.view.batch(sequence);
    if (batch === undefined) return null;
    chain = extended(chain, sequence, batch.sha256);
  }
  return chain;
}

function unsure(what: string, todo: string): RedisVerdict {
  return { is: 'unsure', what, do: todo };
}
