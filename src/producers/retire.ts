import { routeName } from '../common/identity.js';
import type { QueueAccess } from '../queue/access.js';
import type { PayloadStore } from '../queue/payload/payloadStore.js';
import type { RouteState } from '../queue/routeState.js';
import type { BatchStore } from './batchStore.js';
import type { Spool } from './spool/spool.js';

export interface RetireParts {
  access: QueueAccess;
  payloads: PayloadStore;
  spool: Spool;
  store: BatchStore;
}

/**
 * Payload and jobs of a generation that is over; its numbers are dense. A job that is being
 * worked on stays, and finds itself stale.
 */
export async function removeJobs(
  { access, payloads, store }: RetireParts,
  route: string,
  state: RouteState,
): Promise<void> {
  let last: Awaited<ReturnType<QueueAccess['order']['accepted']>> = null;
  // The last confirmed one is still there; behind it some may have been skipped.
  const held = [state.previous];
  for (let seq = state.head; seq <= state.tail; seq += 1) held.push(seq);
  for (const seq of held) {
    const old = await access.order.accepted(route, seq);
    if (old === null) continue;
    last = old;
    await payloads.remove(old);
  }
  // A feed that was killed may have put the next one's payload, and not yet have had it accepted.
  const next = await store.batch(state.tail + 1);
  if (last !== null && next !== undefined) {
    await payloads.remove({ ...last, sequence: next.sequence, bytes: next.bytes });
  }
  await access.queues.removeBatches(route, state.generation, state.head, state.tail);
}

/**
 * Takes a route out of Redis that goes by this name no longer: its acks come over to the spool
 * (under `keptAs`), its jobs and payload go away, so that no worker sends or meets them any more.
 *
 * @returns false when Redis holds nothing of it in this stream
 */
export async function retireRoute(
  parts: RetireParts,
  journal: string,
  destination: string,
  keptAs: string,
): Promise<boolean> {
  const { access, spool } = parts;
  const route = routeName(journal, destination);
  const state = await access.order.state(route);
  if (state === null || state.stream !== spool.stream) return false;
  // Monotone: an older one changes nothing, and a skip is in the spool before it is in Redis. But
  // where a replay has jumped, and Redis has not, that is the place from before the replay.
  const mark = spool.route(keptAs);
  const jumped = mark?.replay != null && mark.generation !== state.generation;
  if (!jumped) await spool.recordAck(keptAs, state.head - 1);
  await removeJobs(parts, route, state);
  await access.queues.removeBlobs(route, spool.stream, spool.pendingBlobs());
  // Nothing is accepted any more: a later return of the route is not a loss.
  await spool.recordGeneration(keptAs, state.generation + 1);
  await access.order.forget(route);
  return true;
}
