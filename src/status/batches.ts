import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { systemCode } from '../common/errors.js';
import { parseRouteName, routeName } from '../common/identity.js';
import type { FerryConfig } from '../config/model.js';
import { routesShown } from '../operator/routeNames.js';
import { archiveDir, deliveredDir } from '../producers/archive/archiveFiles.js';
import { archivedBatches } from '../producers/archive/archiveReader.js';
import { isLeftOut } from '../producers/spool/replayState.js';
import { Spool } from '../producers/spool/spool.js';
import type { RouteMark, SpoolView } from '../producers/spool/types.js';
import { spoolDir } from '../producers/spoolFiles.js';
import type { RouteState } from '../queue/routeState.js';
import type { BatchState, BatchStatus } from './batchReport.js';
import { type RedisView, viewRedis } from './redisView.js';
import type { StatusReport } from './report.js';
import { describeError, headOf, knownJournals } from './status.js';

export interface BatchQuestion {
  /** A route, a journal or a glob; null: all. */
  pattern: string | null;
  /** Null: all. */
  state: BatchState | null;
}

/** One pipeline's routes, to be listed batch by batch. */
export interface BatchListing {
  redis: StatusReport['redis'];
  /** Of all routes that the pattern names. Sorted. */
  routes: readonly string[];
  /** By route, ascending. Read as they are asked for: there may be very many. */
  batches(): AsyncGenerator<BatchStatus, void>;
}

/**
 * The batches that Redis, the spools and the archive know. Reads only, as `readStatus`; without
 * Redis what waits counts as waiting in the spool.
 *
 * @throws FerryError ROUTE_UNKNOWN (kind usage)
 */
export async function listBatches(
  config: FerryConfig,
  log: Logger,
  question: BatchQuestion,
  { isDaemon = false }: { isDaemon?: boolean } = {},
): Promise<BatchListing> {
  const journals = await knownJournals(config, { isDaemon });
  const redis = await viewRedis(
    config,
    log,
    (route) => !journals.has(parseRouteName(route).journal),
  );
  const known = new Map<string, { orphaned: boolean }>();
  for (const [name, journal] of journals) {
    const spool = await Spool.readOnly(spoolDir(config.stateDir, name));
    const wanted = journal?.to.map(({ destination }) => destination) ?? [];
    const marked = spool === undefined ? [] : [...spool.routes()].map((mark) => mark.destination);
    for (const destination of [...wanted, ...marked]) {
      known.set(routeName(name, destination), { orphaned: !wanted.includes(destination) });
    }
  }
  for (const route of redis.routes.keys()) {
    if (!known.has(route)) known.set(route, { orphaned: false });
  }
  const all = [...known.keys()].sort();
  const routes = question.pattern === null ? all : routesShown(question.pattern, all);
  return {
    redis: redis.summary,
    routes,
    async *batches() {
      let loaded = '';
      let spool: SpoolView | undefined;
      for (const route of routes) {
        const { journal: name } = parseRouteName(route);
        // One spool in memory at a time; routes of a journal stand together.
        if (loaded !== name) spool = await Spool.readOnly(spoolDir(config.stateDir, name));
        loaded = name;
        const orphaned = known.get(route)?.orphaned === true;
        const lister = new RouteLister(config, route, spool, redis, orphaned);
        for await (const batch of lister.list(question.state)) yield batch;
      }
    },
  };
}

/** What is known of a batch, wherever it lies. */
interface Known {
  sequence: number;
  bytes: number;
  sha256: string | null;
  stream: string | null;
  sealedAtMs: number | null;
  isArchived: boolean;
}

const BATCH_FILE = /^(\d{10})\.batch$/;
const AHEAD_OF_ALL = Number.MAX_SAFE_INTEGER;
/** They begin at the head: nothing behind it need be read for them. */
const PENDING: ReadonlySet<BatchState> = new Set([
  'waiting',
  'queued',
  'sending',
  'retrying',
  'blocked',
]);

class RouteLister {
  readonly #config: FerryConfig;
  readonly #route: string;
  readonly #spool: SpoolView | undefined;
  readonly #live: NonNullable<ReturnType<RedisView['routes']['get']>> | undefined;
  readonly #mark: RouteMark | undefined;
  readonly #state: RouteState | undefined;
  readonly #head: number;
  readonly #orphaned: boolean;

  constructor(
    config: FerryConfig,
    route: string,
    spool: SpoolView | undefined,
    redis: RedisView,
    orphaned: boolean,
  ) {
    this.#config = config;
    this.#route = route;
    this.#spool = spool;
    this.#live = redis.routes.get(route);
    this.#mark = spool?.route(parseRouteName(route).destination);
    // Redis may hold the route of a state directory that is gone; then only the spool counts.
    const { state } = this.#live ?? {};
    this.#state = spool === undefined || state?.stream === spool.stream ? state : undefined;
    this.#orphaned = orphaned || this.#mark?.orphaned === true;
    this.#head = headOf(this.#mark, this.#state);
  }

  async *list(wanted: BatchState | null): AsyncGenerator<BatchStatus, void> {
    const first = this.#mark?.firstSequence ?? 1;
    const from = wanted !== null && PENDING.has(wanted) ? Math.max(first, this.#head) : first;
    for await (const batch of this.#known(from)) {
      const status = this.#statusOf(batch);
      if (wanted === null || status.state === wanted) yield status;
    }
  }

  /** Archive, what was given up, and spool, merged by sequence. */
  async *#known(from: number): AsyncGenerator<Known, void> {
    const { journal } = parseRouteName(this.#route);
    const dir = deliveredDir(this.#config.stateDir, journal);
    const archived = archivedBatches(dir, from, AHEAD_OF_ALL)[Symbol.asyncIterator]();
    const kept = await this.#givenUp(journal, from);
    const held = this.#held(from)[Symbol.iterator]();
    let [a, h] = [await archived.next(), held.next()];
    for (;;) {
      const sequence = Math.min(
        a.done === true ? AHEAD_OF_ALL : a.value.sequence,
        h.done === true ? AHEAD_OF_ALL : h.value.sequence,
        kept[0] ?? AHEAD_OF_ALL,
      );
      if (sequence === AHEAD_OF_ALL) return;
      const isArchived = a.done !== true && a.value.sequence === sequence;
      if (kept[0] === sequence) kept.shift();
      if (a.done !== true && isArchived) {
        yield { ...a.value, isArchived };
        a = await archived.next();
        if (h.done !== true && h.value.sequence === sequence) h = held.next();
      } else if (h.done !== true && h.value.sequence === sequence) {
        yield { ...h.value, isArchived };
        h = held.next();
      } else {
        const bytes = await this.#sizeOfKept(journal, sequence);
        if (bytes === null) continue; // deleted meanwhile
        yield { sequence, bytes, sha256: null, stream: null, sealedAtMs: null, isArchived };
      }
    }
  }

  /** What the spool holds; of a route from another host, what Redis does. */
  *#held(from: number): Generator<Omit<Known, 'isArchived'>, void> {
    const spool = this.#spool;
    if (spool === undefined) {
      yield* this.#live?.batches ?? [];
      return;
    }
    for (const { sequence, bytes, sha256, sealedAtMs } of spool.batchesAfter(from - 1)) {
      yield { sequence, bytes, sha256, stream: spool.stream, sealedAtMs };
    }
  }

  /** Sequences that this route has given up and whose bytes are still kept, ascending. */
  async #givenUp(journal: string, from: number): Promise<number[]> {
    if ((this.#mark?.skipped.length ?? 0) === 0) return [];
    const names = await readdir(archiveDir(this.#config.stateDir, journal)).catch(
      (error: unknown) => {
        if (systemCode(error) === 'ENOENT') return [];
        throw error;
      },
    );
    return names
      .flatMap((name) => BATCH_FILE.exec(name)?.[1] ?? [])
      .map(Number)
      .filter((sequence) => sequence >= from && this.#isSkipped(sequence))
      .sort((a, b) => a - b);
  }

  async #sizeOfKept(journal: string, sequence: number): Promise<number | null> {
    const name = `${String(sequence).padStart(10, '0')}.batch`;
    return stat(join(archiveDir(this.#config.stateDir, journal), name)).then(
      ({ size }) => size,
      () => null,
    );
  }

  #isSkipped(sequence: number): boolean {
    return this.#mark?.skipped.some(([a, b]) => a <= sequence && sequence <= b) === true;
  }

  #statusOf(batch: Known): BatchStatus {
    const { sequence, sealedAtMs } = batch;
    const state = this.#stateOf(batch);
    const isHead = sequence === this.#head && this.#state !== undefined;
    const error = isHead ? (this.#state?.error ?? null) : null;
    return {
      route: this.#route,
      ...parseRouteName(this.#route),
      sequence,
      state,
      bytes: batch.bytes,
      sha256: batch.sha256,
      stream: batch.stream,
      sealedAt: sealedAtMs === null ? null : new Date(sealedAtMs).toISOString(),
      ageMs: sealedAtMs === null ? null : Math.max(0, Date.now() - sealedAtMs),
      attempts: isHead ? (this.#state?.attempts ?? 0) : 0,
      lastError: error === null ? null : describeError(error),
      lastErrorCode: error?.code ?? null,
      hint: this.#hintFor(sequence, state),
    };
  }

  #stateOf({ sequence, isArchived }: Known): BatchState {
    const { replay = null, acked = 0 } = this.#mark ?? {};
    if (this.#mark !== undefined && isLeftOut(this.#mark, sequence)) return 'skipped';
    const isBehindReplay = replay !== null && sequence > replay.to && sequence <= acked;
    if (sequence < this.#head || isBehindReplay) return isArchived ? 'archived' : 'delivered';
    const state = this.#orphaned ? undefined : this.#state;
    if (state === undefined || sequence > state.tail) return 'waiting';
    if (sequence > this.#head) return 'queued';
    if (state.blocked === sequence) return 'blocked';
    if (state.sending) return 'sending';
    return state.error !== null ? 'retrying' : 'queued';
  }

  #hintFor(sequence: number, state: BatchState): string | null {
    const route = this.#route;
    if (state === 'blocked') {
      return `ferry replay ${route}, or ferry skip ${route} ${sequence} --reason TEXT`;
    }
    if (sequence !== this.#head) return null;
    if (this.#orphaned) return `put the route back, or ferry skip ${route} --all --reason TEXT`;
    const isPaused = this.#state?.paused === true || this.#mark?.paused === true;
    return isPaused ? `ferry resume ${route}` : null;
  }
}
