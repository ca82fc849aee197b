/**
 * A replay of delivered batches, as part of a route's state.
 *
 *     (none) --verdict--> at `from` --ack--> ... --ack--> at `to` --> (none)
 *
 * While it lasts the route's place is `replay.acked + 1`; `acked`, what was delivered before, stays
 * where it is. Given-up batches are left out, unless they are named. Where the place jumps (to
 * `from`, over what is left out, from a `to` that is not the end) the generation rises with it, in
 * the same fact: whatever Redis has of the one before is over, and a crash finds both or neither.
 */
import type { ReplayMark, RouteMark, Verdict } from './types.js';

type Route = { -readonly [K in keyof RouteMark]: RouteMark[K] };
type Skipping = Pick<RouteMark, 'skipped' | 'replay'>;

/** Whether the operator gave it up on this route. */
export function isSkipped({ skipped }: Pick<RouteMark, 'skipped'>, sequence: number): boolean {
  return skipped.some(([from, to]) => from <= sequence && sequence <= to);
}

/** Whether a batch of the present replay does not go out. */
export function isLeftOut(mark: Skipping, sequence: number): boolean {
  return isSkipped(mark, sequence) && mark.replay?.named.includes(sequence) !== true;
}

/** The first one of the present replay behind `sequence` that does not go out; null: none. */
export function nextLeftOut(mark: Skipping, sequence: number): number | null {
  for (const [from, to] of mark.skipped) {
    // A replay may be long, but few of it are given up, and fewer named.
    for (let seq = Math.max(from, sequence + 1); seq <= to; seq += 1) {
      if (isLeftOut(mark, seq)) return seq;
    }
  }
  return null;
}

/** Batches of the replay that are not confirmed yet. */
export function replayLeft(mark: Skipping): number {
  const { replay } = mark;
  if (replay === null) return 0;
  const behind = (from: number, to: number): number =>
    Math.max(0, Math.min(to, replay.to) - Math.max(from, replay.acked + 1) + 1);
  let left = behind(replay.from, replay.to);
  for (const [from, to] of mark.skipped) left -= behind(from, to);
  for (const sequence of replay.named) left += behind(sequence, sequence);
  return left;
}

export function beginReplay(route: Route, verdict: Verdict & { sequence: number }): void {
  const { sequence: from, named = [], bytes = 0 } = verdict;
  const to = verdict.to ?? route.acked;
  route.replay = { from, to, acked: from - 1, named, bytesLeft: bytes };
  pass(route, route.replay, from - 1, 0);
  jump(route);
}

/** The operator ends it: the route goes on where it was before. */
export function endReplay(route: Route): void {
  if (route.replay === null) return;
  route.replay = null;
  jump(route);
}

/** Everything through `sequence` is confirmed, `bytes` of it since the last time. */
export function ackReplay(route: Route, sequence: number, bytes: number): void {
  const { replay } = route;
  if (replay === null || sequence <= replay.acked) return;
  const jumps = pass(route, replay, Math.min(sequence, replay.to), bytes);
  if (jumps) jump(route);
  else route.accepted = Math.max(route.accepted, route.replay?.acked ?? route.acked);
}

/** @returns whether the next one does not follow directly */
function pass(route: Route, replay: ReplayMark, through: number, bytes: number): boolean {
  let acked = through;
  while (acked < replay.to && isLeftOut(route, acked + 1)) acked += 1;
  const jumps = acked > through;
  if (acked < replay.to) {
    const bytesLeft = Math.max(0, replay.bytesLeft - bytes);
    route.replay = { ...replay, acked, bytesLeft };
    return jumps;
  }
  route.replay = null;
  return jumps || replay.to !== route.acked;
}

function jump(route: Route): void {
  route.generation += 1;
  route.accepted = route.replay?.acked ?? route.acked;
}
