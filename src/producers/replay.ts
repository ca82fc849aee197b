import { audit } from '../common/audit.js';
import { crashPoint } from '../common/crashPoints.js';
import { digestOf } from '../common/digest.js';
import { FerryError } from '../common/errors.js';
import { routeName } from '../common/identity.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import type { ReplayAsk, Replayed } from '../queue/asks.js';
import type { RouteState } from '../queue/routeState.js';
import { agrees } from './agreement.js';
import type { BatchStore } from './batchStore.js';
import { isSkipped, replayLeft } from './spool/replayState.js';
import type { Spool } from './spool/spool.js';
import type { RouteMark } from './spool/types.js';

/**
 * Delivered batches go out once more, to a replica that was restored from an older backup.
 *
 *     asked --checked, digest by digest--> --spool, durable--> place of the route
 *           --Redis: a new generation from there--> --audit log--> sent, in order; then what is new
 *
 * From the spool's word on it is carried on with by whoever has the route, `RouteFeed`, through
 * kills and losses of Redis: the place is part of the route's state (`spool/replayState.ts`).
 */
export interface ReplayParts {
  config: Pick<FerryConfig, 'stateDir' | 'destinations'>;
  access: QueueAccess;
  spool: Spool;
  store: BatchStore;
}

type Wanted = Pick<ReplayAsk, 'from' | 'to' | 'named' | 'by'>;

/** Missing batches are named up to so many ranges. */
const RANGES_SAID = 5;

/**
 * What would be sent; nothing is changed, but for acks that the spool hears of.
 *
 * @throws FerryError why it cannot be: ROUTE_UNKNOWN, REPLAY_ORPHANED, REPLAY_NO_SERVER,
 *   REPLAY_UNSURE, REPLAY_BEYOND, REPLAY_BEFORE_ROUTE, REPLAY_OTHER_STREAM, REPLAY_RUNNING,
 *   REPLAY_NOT_TO_THE_END, REPLAY_NOT_GIVEN_UP, REPLAY_INCOMPLETE, REPLAY_NOT_RUNNING
 */
export async function planReplay(
  parts: ReplayParts,
  destination: string,
  wanted: Wanted,
): Promise<Replayed> {
  const { access, spool, store, config } = parts;
  const route = routeName(spool.journal, destination);
  const state = await access.order.state(route);
  const known = spool.route(destination);
  if (known === undefined)
    throw refusal('ROUTE_UNKNOWN', `no route is named ${route}`, 'see ferry status', 'usage');
  if (known.orphaned) {
    throw refusal(
      'REPLAY_ORPHANED',
      `route ${route} left the configuration`,
      'put its destination back into `to`, and restart the producer',
    );
  }
  if (config.destinations.get(destination)?.kind === 'directories') {
    throw refusal(
      'REPLAY_NO_SERVER',
      `${destination} is directories, not a server`,
      'copies are numbered once and for all: copy them by hand',
      'usage',
    );
  }
  if (state === null || !agrees(spool, known, state)) throw unsure(route);
  // Those must not be sent once more because the spool has not heard of them.
  if (known.replay === null) await spool.recordAck(destination, state.head - 1);
  const mark = spool.route(destination) ?? known;
  if (wanted.from === null) return running(spool, mark, route);
  const { from, to } = checkedRange(config, mark, state, route, { ...wanted, from: wanted.from });
  return await plan(store, mark, route, {
    from,
    to,
    named: namedIn(mark, from, to, wanted),
    last: spool.lastSequence,
  });
}

function namedIn(
  mark: RouteMark,
  from: number,
  to: number,
  wanted: Pick<Wanted, 'from' | 'to' | 'named'>,
): number[] {
  for (const sequence of wanted.named) {
    if (sequence >= from && sequence <= to && isSkipped(mark, sequence)) continue;
    throw refusal(
      'REPLAY_NOT_GIVEN_UP',
      `batch ${sequence} is no given-up batch of ${from} to ${to}`,
      'only those need to be named: see audit.log',
      'usage',
    );
  }
  // Whoever begins or ends with one means it.
  const said = [wanted.from ?? 0, wanted.to ?? 0, ...wanted.named];
  const named = said.filter((sequence) => isSkipped(mark, sequence));
  return [...new Set(named)].sort((a, b) => a - b);
}

function checkedRange(
  config: ReplayParts['config'],
  mark: RouteMark,
  state: RouteState,
  route: string,
  { from, to: wantedTo }: { from: number; to: number | null },
): { from: number; to: number } {
  const last = mark.acked;
  const to = wantedTo ?? last;
  if (from > last || to > last) {
    throw refusal(
      'REPLAY_BEYOND',
      `batch ${Math.max(from, to)} is not delivered yet: the last delivered one is ${last}`,
      'what is not delivered goes out by itself',
    );
  }
  if (to < from)
    throw refusal(
      'USAGE',
      `--to ${to} lies before --from ${from}`,
      'the range is closed: --from 7 --to 9 are three',
      'usage',
    );
  if (from < mark.firstSequence) {
    throw refusal(
      'REPLAY_BEFORE_ROUTE',
      `route ${route} began with batch ${mark.firstSequence}`,
      `--from ${mark.firstSequence}, or seed the replica from a copy of the database`,
    );
  }
  if (from < mark.streamFrom) {
    throw refusal(
      'REPLAY_OTHER_STREAM',
      `what was delivered before batch ${mark.streamFrom} belongs to another stream (new-stream in audit.log)`,
      'its numbers prove nothing: seed the replica from a copy of the database',
    );
  }
  if (mark.replay !== null && from > mark.replay.acked + 1) {
    throw refusal(
      'REPLAY_RUNNING',
      `a replay has come to batch ${mark.replay.acked + 1} only`,
      `begin there or before, or end it first: ferry replay ${route} --stop`,
    );
  }
  if (to < last && !isOurs(config, mark, state)) {
    throw refusal(
      'REPLAY_NOT_TO_THE_END',
      `the range must reach the last delivered batch, ${last}`,
      'leave --to out: a database that ends with an older batch is damaged; only a receiver of journal-ferry is known to refuse what does not follow',
    );
  }
  return { from, to };
}

/** Known to be a receiver of ours: by its dialect, or because it has just refused as only they do. */
function isOurs(
  { destinations }: ReplayParts['config'],
  { destination }: RouteMark,
  { error }: RouteState,
): boolean {
  const config = destinations.get(destination);
  if (config?.kind !== 'wire') return false;
  return config.dialect === 'h2' || (config.identity && error?.code === 'IDENTITY_REFUSED');
}

async function plan(
  store: BatchStore,
  mark: RouteMark,
  route: string,
  { from, to, named, last }: { from: number; to: number; named: readonly number[]; last: number },
): Promise<Replayed> {
  const sum = { batches: 0, bytes: 0, firstSealedAtMs: 0, lastSealedAtMs: 0, leftOut: 0 };
  const missing: [number, number][] = [];
  for (let sequence = from; sequence <= to; sequence += 1) {
    if (isSkipped(mark, sequence) && !named.includes(sequence)) {
      sum.leftOut += 1;
      continue;
    }
    const batch = await store.batch(sequence);
    if (batch === undefined) {
      const range = missing.at(-1);
      if (range?.[1] === sequence - 1) range[1] = sequence;
      else missing.push([sequence, sequence]);
      continue;
    }
    sum.batches += 1;
    sum.bytes += batch.bytes;
    sum.firstSealedAtMs ||= batch.sealedAtMs;
    sum.lastSealedAtMs = batch.sealedAtMs;
  }
  if (missing.length > 0) throw incomplete(route, missing, to);
  if (sum.batches === 0) {
    throw refusal(
      'REPLAY_INCOMPLETE',
      `everything from ${from} to ${to} was given up`,
      'name those that are to be sent: --with SEQ',
    );
  }
  return { from, to, ...sum, waiting: last - mark.acked };
}

function incomplete(route: string, missing: [number, number][], to: number): FerryError {
  const said = missing
    .slice(0, RANGES_SAID)
    .map(([a, b]) => (a === b ? `${a}` : `${a} to ${b}`))
    .join(', ');
  const more =
    missing.length > RANGES_SAID ? ` and ${missing.length - RANGES_SAID} more ranges` : '';
  const whole = (missing.at(-1)?.[1] ?? 0) + 1;
  const hint =
    whole <= to
      ? `nothing is missing from ${whole} on; a replica that lacks older ones has to be seeded from a copy of the database`
      : 'the replica has to be seeded from a copy of the database; archive.keep and archive.maxBytes say how much is kept';
  return refusal('REPLAY_INCOMPLETE', `not in the archive of ${route}: batch ${said}${more}`, hint);
}

/** What is left of the replay that goes on. */
function running(spool: Spool, mark: RouteMark, route: string): Replayed {
  const { replay } = mark;
  if (replay === null) {
    throw refusal('REPLAY_NOT_RUNNING', `nothing is replayed on ${route}`, 'see ferry status');
  }
  return {
    from: replay.acked + 1,
    to: replay.to,
    batches: replayLeft(mark),
    bytes: replay.bytesLeft,
    firstSealedAtMs: 0,
    lastSealedAtMs: 0,
    leftOut: 0,
    waiting: spool.lastSequence - mark.acked,
  };
}

/**
 * Reads all that is to be sent and compares it with its digests: half a replay may be worse for a
 * replica than none.
 *
 * @throws FerryError REPLAY_DAMAGED, or what reading throws
 */
export async function verifyReplay(
  { spool, store }: ReplayParts,
  { from, to }: Replayed,
): Promise<void> {
  for (let sequence = from; sequence <= to; sequence += 1) {
    const batch = await store.batch(sequence);
    if (batch === undefined) continue; // left out, and gone
    const open = await store.open(sequence);
    const { sha256 } = await digestOf(open.read()).finally(() => open.close());
    if (sha256 === batch.sha256) continue;
    throw new FerryError('REPLAY_DAMAGED', `batch ${sequence} is damaged: ${open.path}`, {
      kind: 'storage',
      hint: `check the disk; a range that begins behind ${sequence} may still be whole`,
      context: { journal: spool.journal, sequence },
    });
  }
}

/** Writes the operator's word down: from here on it is carried on with. */
export async function recordReplay(
  { spool }: ReplayParts,
  destination: string,
  { from, to, bytes }: Replayed,
  wanted: Wanted,
): Promise<void> {
  const { by } = wanted;
  const mark = spool.route(destination);
  if (wanted.from === null || mark === undefined) {
    await spool.recordVerdict(destination, { kind: 'replayed', by });
  } else {
    const named = namedIn(mark, from, to, wanted);
    const verdict = { kind: 'replay', sequence: from, to, bytes, named, by } as const;
    await spool.recordVerdict(destination, verdict);
  }
  crashPoint('replay.recorded');
}

/** Redis is where the spool is: the audit log hears of it too. Costs nothing when there is none. */
export async function finishReplay(
  { spool, config }: Pick<ReplayParts, 'spool' | 'config'>,
  destination: string,
): Promise<void> {
  for (const { verdict, from, to, bytes, ...of } of [...spool.unfinishedVerdicts()]) {
    if (of.destination !== destination || verdict.kind === 'skip') continue;
    await audit(config.stateDir, {
      event: 'replay',
      route: routeName(spool.journal, destination),
      detail: {
        ...(verdict.kind === 'replayed' ? { stopped: true } : {}),
        ...{ stream: spool.stream, from, to, bytes, by: verdict.by },
      },
    });
    crashPoint('replay.audited');
    await spool.recordFinished(destination);
  }
}

function refusal(
  code: string,
  message: string,
  hint: string,
  kind: 'storage' | 'usage' = 'storage',
): FerryError {
  return new FerryError(code, message, { kind, hint });
}

function unsure(route: string): FerryError {
  return refusal(
    'REPLAY_UNSURE',
    `Redis and the spool do not agree about ${route} yet`,
    'say it again in a moment; see the log of the producer',
  );
}
