import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Logger } from 'pino';
import { parseRouteName, routeName } from '../common/identity.js';
import type { FerryConfig, JournalConfig } from '../config/model.js';
import { resolveJournal, ruleMatches } from '../config/routes.js';
import { placeOf } from '../producers/agreement.js';
import { deliveredDir } from '../producers/archive/archiveFiles.js';
import { type ArchiveSpan, archiveSpan } from '../producers/archive/archiveReader.js';
import { replayLeft } from '../producers/spool/replayState.js';
import { Spool } from '../producers/spool/spool.js';
import type { RouteMark, SpoolView } from '../producers/spool/types.js';
import { spoolDir, spooledJournals } from '../producers/spoolFiles.js';
import type { QueueAccess } from '../queue/access.js';
import type { RouteError, RouteState } from '../queue/routeState.js';
import { describeFull, waitsForMemory } from './memoryView.js';
import { readReceiverStatus } from './receiverView.js';
import { type RedisView, viewRedis, viewRedisThrough } from './redisView.js';
import type { RouteStatus, StatusReport } from './report.js';

/**
 * Puts together what the spool and Redis know of every route. Reads only: starts no Redis, takes
 * no lock, and answers from the spool alone when Redis is away.
 *
 * @param access a connection that is open already; default: one of its own, for this look
 */
export async function readStatus(
  config: FerryConfig,
  log: Logger,
  { isDaemon = false, access }: { isDaemon?: boolean; access?: QueueAccess } = {},
): Promise<StatusReport> {
  const receiver =
    config.receiver === null ? {} : { receiver: await readReceiverStatus(config.receiver) };
  // A receiver needs no Redis: where there is nothing else, nobody misses it.
  if (config.journals.length === 0 && config.destinations.size === 0) {
    return {
      version: 1,
      redis: { ok: true, durability: null, error: null },
      routes: [],
      ...receiver,
    };
  }
  const redis = await (access === undefined ? viewRedis(config, log) : viewRedisThrough(access));
  const routes = new Map<string, RouteStatus>();

  const journals = await knownJournals(config, { isDaemon });
  let full = false;
  for (const [name, journal] of journals) {
    const spool = await Spool.readOnly(spoolDir(config.stateDir, name));
    const journalBytes = journal === null ? 0 : await sizeOf(journal.path);
    const archived = await archiveSpan(deliveredDir(config.stateDir, name));
    const wanted = journal?.to.map(({ destination }) => destination) ?? [];
    const known = spool === undefined ? [] : [...spool.routes()].map((mark) => mark.destination);
    for (const destination of new Set([...wanted, ...known])) {
      const route = routeName(name, destination);
      const orphaned = !wanted.includes(destination);
      const seen = { journalBytes, orphaned, archived };
      routes.set(route, routeStatus(name, destination, spool, redis, seen));
      if (journal !== null && spool !== undefined && !orphaned) {
        full ||= waitsForMemory(config, journal, destination, spool, redis);
      }
    }
  }
  // Routes of producers on other hosts: Redis is all that can be seen of them from here.
  for (const route of redis.routes.keys()) {
    if (routes.has(route)) continue;
    const { journal, destination } = parseRouteName(route);
    routes.set(
      route,
      routeStatus(journal, destination, undefined, redis, {
        journalBytes: 0,
        orphaned: false,
        archived: null,
      }),
    );
  }
  return {
    version: 1,
    redis: full ? { ...redis.summary, error: describeFull(redis) } : redis.summary,
    routes: [...routes.values()].sort((a, b) => (a.route < b.route ? -1 : 1)),
    ...receiver,
  };
}

/**
 * Journals that the configuration names or that have a spool; null: the configuration no longer
 * knows it.
 */
export async function knownJournals(
  config: FerryConfig,
  { isDaemon }: { isDaemon: boolean },
): Promise<Map<string, JournalConfig | null>> {
  const journals = new Map<string, JournalConfig | null>();
  // The other spools of a daemon's state directory are those of other daemons.
  const spooled = isDaemon ? [] : await spooledJournals(config.stateDir);
  for (const name of spooled) journals.set(name, null);
  for (const rule of config.journals) {
    if (rule.kind === 'path') journals.set(rule.name, resolveJournal(rule));
    else {
      for (const name of journals.keys()) {
        if (ruleMatches(rule, name)) journals.set(name, resolveJournal(rule, basename(name)));
      }
    }
  }
  return journals;
}

/** The routes of several pipelines as one report; for the daemons of one state directory. */
export async function readStatusOfAll(
  configs: readonly FerryConfig[],
  log: Logger,
  { areDaemons }: { areDaemons: boolean },
): Promise<StatusReport> {
  const reports = await Promise.all(
    configs.map((config) => readStatus(config, log, { isDaemon: areDaemons })),
  );
  const away = reports.find(({ redis }) => !redis.ok);
  const { redis } = away ?? reports[0] ?? { redis: { ok: true, durability: null, error: null } };
  const routes = reports.flatMap((report) => report.routes);
  const receiver = reports.find((report) => report.receiver !== undefined)?.receiver;
  return {
    version: 1,
    redis,
    routes: routes.sort((a, b) => (a.route < b.route ? -1 : 1)),
    ...(receiver === undefined ? {} : { receiver }),
  };
}

function routeStatus(
  journal: string,
  destination: string,
  spool: SpoolView | undefined,
  redis: RedisView,
  seen: { journalBytes: number; orphaned: boolean; archived: ArchiveSpan | null },
): RouteStatus {
  const route = routeName(journal, destination);
  const mark = spool?.route(destination);
  const live = redis.routes.get(route);
  // Redis may hold the route of a state directory that is gone; then only the spool counts.
  const state =
    spool === undefined || live?.state.stream === spool.stream ? live?.state : undefined;
  const head = headOf(mark, state);
  const replay = replayOf(mark, head);
  const tail = spool?.lastSequence ?? state?.tail ?? 0;
  const waiting =
    spool === undefined
      ? { bytes: live?.pendingBytes ?? 0, oldestMs: live?.oldestSealedAtMs ?? null }
      : waitingFrom(spool, Math.max(head, (mark?.acked ?? 0) + 1));
  const delivered = deliveredOf(spool, mark, state, head);
  const undelivered = replay === null ? tail - head + 1 : tail - (mark?.acked ?? tail);
  const pendingBatches = Math.max(0, undelivered) + (replay?.batchesLeft ?? 0);
  const pendingBlobs = blobsOf(spool, destination);
  const blobError = pendingBlobs > 0 && state !== undefined ? (live?.blobError ?? null) : null;
  const error = state?.error ?? blobError;
  return {
    route,
    journal,
    destination,
    state: nameOf({
      mark,
      state,
      orphaned: seen.orphaned,
      failing: error !== null,
      pending: pendingBatches + pendingBlobs,
    }),
    head,
    tail,
    pendingBatches,
    pendingBytes: pendingBatches === 0 ? 0 : waiting.bytes + (replay?.bytesLeft ?? 0),
    oldestAgeMs:
      pendingBatches === 0 || waiting.oldestMs === null
        ? 0
        : Math.max(0, Date.now() - waiting.oldestMs),
    journalBytes: seen.journalBytes,
    pendingBlobs,
    attempts: state?.attempts ?? 0,
    lastError: error === null ? null : describeError(error),
    lastErrorCode: error?.code ?? null,
    lastErrorAt: error === null ? null : new Date(error.at).toISOString(),
    deliveredBatches: delivered.batches,
    deliveredBytes: delivered.bytes,
    skippedBatches: mark?.skippedBatches ?? 0,
    skippedBytes: mark?.skippedBytes ?? 0,
    duplicatesPossible: state?.repeats ?? 0,
    replay,
    archivedFrom: seen.archived?.from ?? null,
    archivedBytes: seen.archived?.bytes ?? 0,
  };
}

/** The next one to be delivered, which a replay takes back. */
export function headOf(mark: RouteMark | undefined, state: RouteState | undefined): number {
  if (mark === undefined) return Math.max(1, state?.head ?? 0);
  const next = placeOf(mark).acked + 1;
  // Where the replay has jumped and Redis has not, that is still at the place from before.
  const jumped = mark.replay !== null && state?.generation !== mark.generation;
  return jumped ? next : Math.max(next, state?.head ?? 0);
}

function replayOf(mark: RouteMark | undefined, head: number): RouteStatus['replay'] {
  if (mark?.replay == null || head > mark.replay.to) return null;
  const { from, to, bytesLeft } = mark.replay;
  const replay = { ...mark.replay, acked: head - 1 };
  return { from, to, batchesLeft: replayLeft({ ...mark, replay }), bytesLeft };
}

/** `CODE: what happened: what to do` */
export function describeError({ code, message, hint }: RouteError): string {
  return `${code}: ${message}${hint === undefined ? '' : `: ${hint}`}`;
}

function waitingFrom(spool: SpoolView, head: number): { bytes: number; oldestMs: number | null } {
  let bytes = 0;
  let oldestMs: number | null = null;
  for (const batch of spool.batchesAfter(head - 1)) {
    bytes += batch.bytes;
    oldestMs ??= batch.sealedAtMs;
  }
  return { bytes, oldestMs };
}

/** The spool's totals, and what Redis knows to be confirmed beyond them. */
function deliveredOf(
  spool: SpoolView | undefined,
  mark: RouteMark | undefined,
  state: RouteState | undefined,
  head: number,
): { batches: number; bytes: number } {
  if (spool === undefined || mark === undefined) {
    return { batches: state?.batches ?? 0, bytes: state?.bytes ?? 0 };
  }
  let { ackedBatches: batches, ackedBytes: bytes } = mark;
  for (const batch of spool.batchesAfter(mark.acked)) {
    if (batch.sequence >= head) break;
    batches += 1;
    bytes += batch.bytes;
  }
  return { batches, bytes };
}

function blobsOf(spool: SpoolView | undefined, destination: string): number {
  let count = 0;
  for (const blob of spool?.pendingBlobs() ?? []) {
    if (!blob.confirmedBy.includes(destination)) count += 1;
  }
  return count;
}

/** The first that applies: what an operator has to know most comes first. */
function nameOf(facts: {
  mark: RouteMark | undefined;
  state: RouteState | undefined;
  orphaned: boolean;
  failing: boolean;
  pending: number;
}): RouteStatus['state'] {
  const { mark, state, orphaned, failing, pending } = facts;
  if (orphaned || mark?.orphaned) return 'orphaned';
  if (state?.blocked != null) return 'blocked';
  if (state?.paused || mark?.paused) return 'paused';
  if (failing && pending > 0) return 'retrying';
  return pending > 0 || state?.sending ? 'sending' : 'idle';
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
