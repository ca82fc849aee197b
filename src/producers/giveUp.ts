import type { Logger } from 'pino';
import { type AuditEntry, audit } from '../common/audit.js';
import { crashPoint } from '../common/crashPoints.js';
import { FerryError } from '../common/errors.js';
import { routeName } from '../common/identity.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import type { GivenUp, SkipAsk } from '../queue/asks.js';
import type { PayloadStore } from '../queue/payload/payloadStore.js';
import type { RouteState } from '../queue/routeState.js';
import { skipHead } from '../queue/wake.js';
import { agrees } from './agreement.js';
import { keepBatch, keptPath } from './archive/keptBatch.js';
import type { BatchStore } from './batchStore.js';
import { retireRoute } from './retire.js';
import { isSkipped } from './spool/replayState.js';
import type { Spool } from './spool/spool.js';
import type { RouteMark, UnfinishedVerdict } from './spool/types.js';

export interface GiveUpParts {
  config: Pick<FerryConfig, 'stateDir'>;
  access: QueueAccess;
  payloads: PayloadStore;
  spool: Spool;
  store: BatchStore;
  log: Logger;
}

/**
 * The operator gives up a blocked batch, or all that waits for an orphaned route.
 *
 *     asked --bytes kept--> --spool, durable--> unfinished --Redis--> --audit log--> finished
 *
 * A crash before the spool has it leaves everything as it was; after that it is carried on with by
 * `finishSkips`, at the next start. Nothing here changes what may be sent but the spool's word.
 *
 * @throws FerryError ROUTE_UNKNOWN, SKIP_NOT_BLOCKED, SKIP_WRONG_BATCH, SKIP_DELIVERED,
 *   SKIP_UNSURE, SKIP_ORPHANED, SKIP_NOT_ORPHANED: why it is not given up
 */
export async function giveUp(
  parts: GiveUpParts,
  destination: string,
  ask: Pick<SkipAsk, 'sequence' | 'reason' | 'by'>,
): Promise<GivenUp> {
  const { spool } = parts;
  const route = routeName(spool.journal, destination);
  const begun = begunBefore(parts, destination, ask.sequence);
  if (begun !== null) {
    await finishSkips(parts, destination);
    return begun;
  }
  const mark = spool.route(destination);
  if (mark === undefined) throw unknown(route);
  const given =
    ask.sequence === null
      ? await giveUpRoute(parts, mark, route, ask)
      : await giveUpBatch(parts, mark, route, ask.sequence, ask);
  await finishSkips(parts, destination);
  return given;
}

/** Whoever gave it up died on the way; null: nobody did. */
function begunBefore(
  { spool, config }: GiveUpParts,
  destination: string,
  sequence: number | null,
): GivenUp | null {
  for (const skip of spool.unfinishedVerdicts()) {
    const { verdict, from, to, bytes } = skip;
    const drop = verdict.drop === true;
    if (verdict.kind !== 'skip' || skip.destination !== destination) continue;
    if ((drop ? null : to) !== sequence) continue;
    const kept = drop ? null : keptPath(config.stateDir, spool.journal, to);
    return { batches: to - from + 1, bytes, kept };
  }
  return null;
}

async function giveUpBatch(
  parts: GiveUpParts,
  mark: RouteMark,
  route: string,
  sequence: number,
  { reason, by }: Pick<SkipAsk, 'reason' | 'by'>,
): Promise<GivenUp> {
  const { spool, access, config } = parts;
  const { destination } = mark;
  const batch = spool.batch(sequence);
  const state = await access.order.state(route);
  mustBeBlocked(spool, mark, state, route, sequence);
  if (batch === undefined) throw unsure(route);
  // The spool may not have heard of the last acks yet, and all that is not acked would be skipped.
  await spool.recordAck(destination, sequence - 1);
  const kept = await keepBatch(spool, config.stateDir, batch);
  crashPoint('skip.kept');
  await spool.recordVerdict(destination, { kind: 'skip', sequence, reason, by });
  crashPoint('skip.recorded');
  return { batches: 1, bytes: batch.bytes, kept };
}

async function giveUpRoute(
  parts: GiveUpParts,
  mark: RouteMark,
  route: string,
  { reason, by }: Pick<SkipAsk, 'reason' | 'by'>,
): Promise<GivenUp> {
  const { spool } = parts;
  const { destination } = mark;
  if (!mark.orphaned) {
    throw new FerryError('SKIP_NOT_ORPHANED', `route ${route} is in the configuration`, {
      kind: 'storage',
      hint: 'take its destination out of `to` of the journal, restart the producer, and say it again',
      context: { route },
    });
  }
  // What Redis knows to be confirmed is not given up.
  await retireRoute(parts, spool.journal, destination, destination);
  const { batches, bytes } = spool.waiting(destination);
  const sequence = spool.lastSequence;
  await spool.recordVerdict(destination, { kind: 'skip', sequence, drop: true, reason, by });
  crashPoint('skip.recorded');
  return { batches, bytes, kept: null };
}

/**
 * Carries on with what the spool knows to be given up, until Redis and the audit log know it too.
 * Costs nothing when there is nothing of the kind.
 *
 * @returns false while somebody still sends the batch: his lease is waited for
 */
export async function finishSkips(parts: GiveUpParts, destination: string): Promise<boolean> {
  for (const skip of [...parts.spool.unfinishedVerdicts()]) {
    if (skip.destination !== destination || skip.verdict.kind !== 'skip') continue;
    const done = await inRedis(parts, skip);
    if (done === 'not yet') return false;
    crashPoint('skip.applied');
    const confirmed = done === 'confirmed';
    await audit(parts.config.stateDir, auditEntry(parts.spool, skip, confirmed));
    crashPoint('skip.audited');
    if (confirmed) await parts.spool.recordConfirmedAfterAll(destination);
    await parts.spool.recordFinished(destination);
  }
  return true;
}

/** `confirmed`: somebody retried the batch and confirmed it before Redis heard of the skip. */
async function inRedis(
  parts: GiveUpParts,
  skip: UnfinishedVerdict,
): Promise<'not yet' | 'done' | 'confirmed'> {
  const { spool, access, log } = parts;
  const { destination, to: sequence } = skip;
  const route = routeName(spool.journal, destination);
  if (skip.verdict.drop) {
    await retireRoute(parts, spool.journal, destination, destination);
    await spool.dropRoute(destination);
    log.info({ route, batches: sequence - skip.from + 1, bytes: skip.bytes }, 'route dropped');
    return 'done';
  }
  const { order, queues } = access;
  const state = await order.state(route);
  const generation = spool.route(destination)?.generation;
  // Lost or begun anew meanwhile: its producer opens it behind the skipped batch.
  if (state?.stream !== spool.stream || state.generation !== generation) return 'done';
  const answer = await skipHead(order, queues, { route, generation, sequence });
  if (answer.is === 'wait') return 'not yet';
  if (answer.is !== 'skipped') return 'done';
  if (answer.confirmed) {
    log.warn({ route, sequence }, 'the batch was confirmed before it was given up');
    return 'confirmed';
  }
  log.info({ route, sequence, bytes: skip.bytes }, 'batch given up; the route goes on behind it');
  return 'done';
}

function auditEntry(spool: Spool, skip: UnfinishedVerdict, confirmed: boolean): AuditEntry {
  const { destination, verdict, from, to, bytes, sha256 } = skip;
  return {
    event: 'skip',
    route: routeName(spool.journal, destination),
    detail: {
      ...(verdict.drop ? { dropped: true } : {}),
      ...(confirmed ? { confirmed } : {}),
      ...{ stream: spool.stream, from, to, bytes, sha256 },
      ...{ reason: verdict.reason, by: verdict.by },
    },
  };
}

/** Nothing but the batch that a route is blocked at is ever given up. */
function mustBeBlocked(
  spool: Spool,
  mark: RouteMark,
  state: RouteState | null,
  route: string,
  sequence: number,
): asserts state is RouteState {
  const context = { route, sequence };
  const fail = (code: string, message: string, hint: string): never => {
    throw new FerryError(code, message, { kind: 'storage', hint, context });
  };
  if (mark.orphaned) {
    fail('SKIP_ORPHANED', `route ${route} left the configuration`, 'give up all of it with --all');
  }
  if (isSkipped(mark, sequence)) {
    fail('SKIP_DELIVERED', `batch ${sequence} was given up before`, 'see audit.log');
  }
  if (mark.replay !== null && sequence <= mark.replay.to) {
    fail(
      'SKIP_IN_REPLAY',
      `batch ${sequence} was delivered before, and is being replayed`,
      `ferry replay ${route} --stop ends the replay`,
    );
  }
  const head = Math.max(mark.acked + 1, state?.head ?? 0);
  if (sequence < head) {
    const next = `the route's next one is ${head}`;
    fail('SKIP_DELIVERED', `batch ${sequence} is delivered already`, `${next}; see ferry status`);
  }
  if (state === null || !agrees(spool, mark, state)) throw unsure(route);
  if (state.blocked === null) {
    fail(
      'SKIP_NOT_BLOCKED',
      `route ${route} is not blocked${head <= spool.lastSequence ? `: batch ${head} is still tried` : ''}`,
      'only a batch that ran out of attempts can be given up; for one that is tried for ever, set `attempts` of the journal and restart the producer',
    );
  }
  if (state.blocked !== sequence) {
    fail(
      'SKIP_WRONG_BATCH',
      `route ${route} is blocked at batch ${state.blocked}, not at ${sequence}`,
      `if that is the one to give up: ferry skip ${route} ${state.blocked} --reason TEXT`,
    );
  }
}

function unknown(route: string): FerryError {
  return new FerryError('ROUTE_UNKNOWN', `no route is named ${route}`, {
    kind: 'usage',
    hint: 'ferry status lists them',
  });
}

function unsure(route: string): FerryError {
  return new FerryError('SKIP_UNSURE', `Redis and the spool do not agree about ${route} yet`, {
    kind: 'storage',
    hint: 'start the producer, which settles that, and say it again',
    context: { route },
  });
}
