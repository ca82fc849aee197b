import type { RouteState } from '../queue/routeState.js';
import { isLeftOut, isSkipped, nextLeftOut } from './spool/replayState.js';
import type { RouteMark, SpoolView } from './spool/types.js';

/** Where a route is: at its first undelivered batch, or somewhere in a replay. */
export interface Place {
  /** Everything up to here is behind it. */
  acked: number;
  /** Sequence that the far side has last confirmed before the next one, in this stream; 0: none. */
  previous: number;
  /** The last one that goes out in this generation; null: all that there is. */
  through: number | null;
}

export function placeOf(mark: RouteMark): Place {
  const { replay } = mark;
  if (replay === null) return { acked: mark.acked, previous: mark.previous, through: null };
  const leftOut = nextLeftOut(mark, replay.acked);
  const through = Math.min(replay.to, (leftOut ?? Number.POSITIVE_INFINITY) - 1);
  return {
    acked: replay.acked,
    previous: confirmedBefore(mark, replay.acked + 1),
    // Behind the end of what was delivered the rest follows as always.
    through: through === replay.to && replay.to === mark.acked ? null : through,
  };
}

/** Whether Redis is no further back, and no further ahead, than the spool can explain. */
export function agrees(spool: SpoolView, mark: RouteMark, state: RouteState): boolean {
  return (
    state.stream === spool.stream &&
    state.generation === mark.generation &&
    state.head >= placeOf(mark).acked + 1 &&
    state.head <= spool.lastSequence + 1 &&
    state.tail >= mark.accepted &&
    state.tail <= spool.lastSequence
  );
}

/** What a closed route has to do to be open for the present Redis run. */
export type Opening =
  /** Redis never had it. */
  | 'first'
  /** It is as it was left. */
  | 'resume'
  /** A replay has jumped, and Redis has lost nothing: it knows every lease. */
  | 'jumped'
  /** Redis lost it, or has gone back. */
  | 'lost'
  /** The same, but there was nothing in it that was not confirmed. */
  | 'gone'
  /** Redis still has it in a stream that this process has left. */
  | 'left'
  /** Redis has it in a stream that this spool never knew. */
  | 'foreign'
  /** Another producer took it over. */
  | 'contested'
  /** Redis has seen more than the spool: the numbers prove nothing. */
  | 'ahead';

/**
 * @param state what Redis says of the route; null: nothing
 * @param known `openedOnce`: by this process; `formerStreams`: those that it has left
 */
export function openingOf(
  spool: SpoolView,
  mark: RouteMark,
  state: RouteState | null,
  runId: string,
  known: { openedOnce: boolean; formerStreams: ReadonlySet<string> },
): Opening {
  if (state === null) {
    if (mark.generation === 0) return 'first';
    return mark.accepted > placeOf(mark).acked ? 'lost' : 'gone';
  }
  if (agrees(spool, mark, state)) return 'resume';
  const isLeft = known.formerStreams.has(state.stream);
  if (state.stream !== spool.stream) {
    if (mark.generation === 0) return 'foreign';
    if (isLeft) return 'left';
    return known.openedOnce ? 'contested' : 'lost';
  }
  const isAhead =
    state.generation > mark.generation ||
    state.tail > spool.lastSequence ||
    state.head > spool.lastSequence + 1;
  if (isAhead) return 'ahead';
  if (state.generation < mark.generation && state.run === runId) return 'jumped';
  return isLeft ? 'left' : 'lost';
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
export function confirmedBefore(mark: RouteMark, sequence: number): number {
  let before = sequence - 1;
  while (before >= mark.streamFrom && isMissing(mark, before)) before -= 1;
  return before < mark.streamFrom ? 0 : before;
}

/** It was given up, and has not gone out in this replay either. */
function isMissing(mark: RouteMark, sequence: number): boolean {
  const { replay } = mark;
  if (replay === null || sequence < replay.from) return isSkipped(mark, sequence);
  return isLeftOut(mark, sequence);
}
