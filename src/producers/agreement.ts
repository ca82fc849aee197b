import type { RouteState } from '../queue/routeOrder.js';
import type { RouteMark, SpoolView } from './spool/types.js';

/** Whether Redis is no further back, and no further ahead, than the spool can explain. */
export function agrees(
  spool: SpoolView,
  mark: RouteMark,
  state: RouteState | null,
): state is RouteState {
  return (
    state !== null &&
    state.stream === spool.stream &&
    state.generation === mark.generation &&
    state.head >= mark.acked + 1 &&
    state.tail >= mark.accepted &&
    state.tail <= spool.lastSequence
  );
}

/**
 * Whether spool and Redis chained the digests of what is confirmed to one end. Null: they do not
 * stand at the same batch, or a version without chains was in between.
 */
export function chainsAgree(mark: RouteMark, state: RouteState): boolean | null {
  const [ours, theirs] = [mark.chain, state.chain];
  if (theirs === null || theirs.since !== ours.since || theirs.through !== ours.through)
    return null;
  return theirs.head === ours.head;
}

/** The sequence confirmed before `sequence` on this route and stream; 0: none. */
export function confirmedBefore(spool: SpoolView, mark: RouteMark, sequence: number): number {
  let before = sequence - 1;
  for (const [from, to] of mark.skipped.toReversed()) {
    if (from <= before && before <= to) before = from - 1;
  }
  return before < Math.max(mark.firstSequence, spool.streamSince) ? 0 : before;
}

/** Whether the operator gave it up on this route. */
export function isSkipped(mark: RouteMark, sequence: number): boolean {
  return mark.skipped.some(([from, to]) => from <= sequence && sequence <= to);
}
