import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asError, FerryError, systemCode } from '../common/errors.js';
import { parseRouteName } from '../common/identity.js';
import type { Meter } from '../common/meter.js';
import type { JournalGauges } from '../common/role.js';
import type { Semaphore } from '../common/semaphore.js';
import { within } from '../common/within.js';
import type { JournalConfig } from '../config/model.js';
import type { Ask, Done } from '../queue/asks.js';
import type { PayloadSource } from '../queue/payload/payloadStore.js';
import type { TransferSubject } from '../queue/payload/transfer.js';
import { redisFull } from '../queue/trouble.js';
import { BatchStore } from './batchStore.js';
import type { JournalCapture } from './capture/capture.js';
import { journalSize } from './capture/journalFile.js';
import type { CaptureNote, RecoveryOutcome } from './capture/outcomes.js';
import { carryOut } from './carryOut.js';
import { type JournalParts, type OpenJournal, openJournal } from './openJournal.js';
import { sourceOfBatch, sourceOfBlob } from './payloadSource.js';
import { notNow, PendingAsks } from './pendingAsks.js';
import { verifyReplay } from './replay.js';
import type { RouteFeed } from './routeFeed.js';
import { retireOrphans } from './settleRoutes.js';
import type { SpoolBatch } from './spool/types.js';
import { spoolDir } from './spoolFiles.js';
import { StandingProblem } from './standingProblem.js';

export interface PipelineParts extends JournalParts {
  /** Captures at once in this process. */
  captures: Semaphore;
  meter: Meter;
  /** Something was captured or confirmed: the process is not idle. */
  onActive: () => void;
}

/**
 * One journal on its way into Redis. A turn does all that can be done now, in this order:
 *
 *     spool open, leftover of a crash taken out   (once, with or without Redis)
 *     routes: open for this Redis run, acks taken over   (not when only the journal has changed)
 *     what an operator asked for
 *     links of blobs seen
 *     capture, when a route has nothing waiting or the journal is large
 *     routes: fed, where there is room for more;  blobs: fed, finished
 *
 * Turns never overlap; a hint that comes during a turn causes one more. A turn that fails is
 * tried again at the journal's interval, and its reason is said once.
 */
export class JournalPipeline {
  readonly journal: JournalConfig;
  readonly #p: PipelineParts;
  /** Null: its spool was not opened yet. */
  #open: OpenJournal | null = null;
  /** A former process has left a spool: nobody but we can make one now. Null: not looked at. */
  #hadSpool: boolean | null = null;
  #recovered = false;
  #orphansRetired = false;
  readonly #asks = new PendingAsks();
  /** Resolves when its first turn has ended, well or not. */
  readonly firstTurn: Promise<void>;
  #firstTurnEnded: () => void = () => undefined;
  #turn: Promise<void> | null = null;
  #again = false;
  /** Redis may say something new of the routes. */
  #routesChanged = true;
  #stopped = false;
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #timerDue = Number.POSITIVE_INFINITY;
  readonly #problem = new StandingProblem();

  constructor(parts: PipelineParts) {
    this.#p = parts;
    this.journal = parts.journal;
    this.firstTurn = new Promise((resolve) => {
      this.#firstTurnEnded = resolve;
    });
  }

  /**
   * Something may have changed: journal or blob directory, or what Redis says of the routes. The
   * first is asked for with each commit, and costs no question to Redis unless it is to be captured.
   */
  look(what: 'journal' | 'routes'): void {
    if (this.#stopped) return;
    if (what === 'routes') this.#routesChanged = true;
    if (this.#turn !== null) {
      this.#again = true;
      return;
    }
    this.#turn = this.#turns().finally(() => {
      this.#turn = null;
      this.#firstTurnEnded();
      if (this.#again) this.look('journal');
    });
  }

  /** Whether everything that happens in the blob directory comes to `blobTouched`. */
  blobsAreWatched: () => boolean = () => false;

  /** Something happened to this name in the blob directory. */
  blobTouched(name: string): void {
    this.#open?.blobs?.touched(name);
    this.look('journal');
  }

  /** Some blob of the journal was confirmed, says Redis. */
  blobConfirmed(): void {
    const blobs = this.#open?.blobs;
    if (blobs === undefined || blobs === null) return;
    blobs.hasNews();
    this.#lookIn(blobs.stepInMs);
  }

  /** Another Redis run, or news that Redis lost something. */
  redisChanged(): void {
    for (const route of this.#routes) route.close();
    this.#open?.blobs?.forgetJobs();
    this.look('routes');
  }

  /** True while some route has not confirmed all that was captured. */
  get pending(): boolean {
    return this.#routes.some((route) => !route.isIdle) || (this.#open?.blobs?.pending ?? false);
  }

  get #routes(): readonly RouteFeed[] {
    return this.#open?.routes ?? [];
  }

  /** How the journal and its routes stand, from memory; null before its spool is open. */
  gauges(): JournalGauges | null {
    if (this.#open === null) return null;
    const { spool, archive, routes } = this.#open;
    return {
      journal: this.journal.name,
      spoolBytes: spool.bytesOnDisk,
      waitingBytes: spool.waitingBytes,
      limitBytes: this.journal.limits.spoolBytes,
      archive: archive?.gauge ?? null,
      routes: routes.map(({ route, destination, isBlocked, chainDiffers }) => ({
        route,
        ...spool.waiting(destination),
        blocked: isBlocked,
        chainDiffers,
      })),
    };
  }

  /** Something in the archive may have become too old. */
  pruneArchive(): void {
    this.#open?.archive?.look();
  }

  /** A head that sleeps although it ought to run, for whatever reason, wakes. */
  async wake(): Promise<void> {
    for (const route of this.#routes) if (route.isOpen && !route.isIdle) await route.wake();
    const blobs = this.#open?.blobs;
    if (blobs?.pending) await blobs.wake();
  }

  /**
   * Carries out what an operator asks for, in a turn. What a replay is to send is read before that,
   * beside the turns: it may be much.
   *
   * @throws FerryError as `carryOut`, `verifyReplay`, or what keeps the journal's turns from ending
   */
  async carryOut(ask: Ask): Promise<Done> {
    if (ask.what !== 'replay' || ask.dry || ask.from === null) return this.#inTurn(ask);
    const plan = await this.#inTurn({ ...ask, dry: true });
    const giveBack = this.#open?.archive?.hold(ask.from);
    try {
      const { config, access } = this.#p;
      if (this.#open === null || !('from' in plan)) throw notNow(ask);
      const { spool, store } = this.#open;
      await verifyReplay({ config, access, spool, store }, plan);
      return await this.#inTurn(ask);
    } finally {
      giveBack?.();
    }
  }

  #inTurn(ask: Ask): Promise<Done> {
    const done = this.#asks.add(ask);
    this.look('routes');
    return done;
  }

  /** Opens what a worker wants to read; a sentence when it is not there. */
  async openSubject(subject: TransferSubject): Promise<PayloadSource | string> {
    if (this.#open === null || this.#open.spool.stream !== subject.stream) {
      return 'the stream is another one now';
    }
    const { store } = this.#open;
    try {
      if (subject.kind === 'batch') return await sourceOfBatch(store, subject.sequence);
      const { blobsDir } = this.journal;
      if (blobsDir === null) return 'the journal has no blob directory any more';
      return await sourceOfBlob(join(blobsDir, subject.text));
    } catch (error) {
      return asError(error).message;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#abort.abort();
    clearTimeout(this.#timer);
    if (this.#turn !== null) await within(STOP_PATIENCE_MS, this.#turn);
    await this.#open?.capture.close();
    await this.#open?.archive?.stop();
    await this.#open?.spool.close();
  }

  async #turns(): Promise<void> {
    do {
      this.#again = false;
      this.#problem.begin();
      try {
        await this.#oneTurn();
      } catch (error) {
        this.#sayProblem(error);
        this.#asks.refuse(error);
        this.#lookIn(this.journal.intervalMs);
      }
    } while (this.#again && !this.#stopped);
    this.#asks.refuse();
  }

  async #oneTurn(): Promise<void> {
    if (this.#stopped) return;
    if (this.#open === null && !(await this.#hasAnything())) return this.#problem.end();
    const open = await this.#ready();
    const { spool, capture, blobs } = open;
    if (!this.#recovered) {
      // What is in the spool goes on its way even while the journal cannot be looked at.
      await this.#recover(capture).catch((error: unknown) => this.#sayProblem(error));
    }
    // Redis away: the journal is left alone, its writer's bytes are safest where they are.
    if (this.#p.access.scripts.facts === null) return;

    await this.#retireOrphans(open);
    if (this.#routesChanged || this.#routes.some((route) => !route.isOpen)) {
      // Before the questions: news that come meanwhile are for the next turn.
      this.#routesChanged = false;
      await this.#stepRoutes();
    }
    if (!this.#asks.isEmpty) {
      await this.#answerAsks(open);
      await this.#stepRoutes();
    }
    const links = (await blobs?.scan()) ?? [];
    const outcome = await this.#captureIfDue(capture);
    if (outcome !== 'waits') await blobs?.take(links, spool.lastSequence);
    if (outcome === 'captured') {
      this.#p.onActive();
      for (const route of this.#routes) if (route.hasRoom) await route.feed();
      this.#again = true; // commits that came meanwhile
    }
    if (this.#routes.some((route) => route.waitsForMemory)) {
      this.#sayProblem(redisFull('batches wait in the spool'));
    }
    if (blobs?.pending) {
      this.#p.onActive();
      if (blobs.stepInMs === 0) await blobs.step();
      this.#lookIn(blobs.stepInMs);
    }
    if (this.#routes.some((route) => !route.isOpen)) this.#lookIn(RETRY_OPEN_MS);
    if (this.pending) {
      this.#p.onActive();
      this.#lookIn(this.journal.intervalMs);
    }
    this.#problem.end();
  }

  /** One that fails is tried again with the next turn, whatever that is for. */
  async #stepRoutes(): Promise<void> {
    try {
      for (const route of this.#routes) await route.step();
    } catch (error) {
      this.#routesChanged = true;
      throw error;
    }
  }

  /**
   * `waits`: bytes stay in the journal for now. A journal whose routes all have something waiting
   * gathers commits until it is worth a batch.
   */
  async #captureIfDue(capture: JournalCapture): Promise<'captured' | 'empty' | 'waits'> {
    const { flush } = this.journal;
    const size = await this.#journalSize();
    if (size === 0) return 'empty';
    const hungry = this.#routes.some((route) => route.isIdle);
    if (!hungry && size < flush.maxBytes) return 'waits';
    if (flush.quietMs > 0) {
      const { mtimeMs } = await stat(this.journal.path);
      const quietIn = mtimeMs + flush.quietMs - Date.now();
      if (quietIn > 0) {
        this.#lookIn(quietIn);
        return 'waits';
      }
    }
    const outcome = await this.#p.captures.run(() => capture.capture(this.#abort.signal, size));
    if ('captured' in outcome) {
      this.#count(outcome.captured, outcome.lockHeldMs);
      this.#p.log.debug(
        {
          journal: this.journal.name,
          sequence: outcome.captured.sequence,
          bytes: outcome.captured.bytes,
          lockHeldMs: outcome.lockHeldMs,
        },
        'captured',
      );
      this.#sayNotes(outcome.notes);
      return 'captured';
    }
    if ('held' in outcome) {
      this.#sayProblem(
        new FerryError('CAPTURE_HELD', `bytes stay in the journal: ${outcome.held}`, {
          kind: 'storage',
          hint:
            outcome.held === 'spool-limit'
              ? 'a destination is behind by limits.spool; captures go on when it catches up'
              : 'free some space on the disk of the state directory',
        }),
      );
      this.#lookIn(this.journal.intervalMs);
      return 'waits';
    }
    return 'empty';
  }

  /**
   * Takes out of the journal what a crash left of captured bytes. At once, with or without Redis:
   * whatever its writer appends before this could be taken for a part of them.
   */
  async #recover(capture: JournalCapture): Promise<void> {
    const outcome = await capture.recover(this.#abort.signal);
    this.#recovered = true;
    if (outcome.found === 'leftover' && outcome.captured !== null) {
      this.#routesChanged = true; // it is to be fed like any other
      this.#count(outcome.captured, outcome.lockHeldMs);
    }
    if (outcome.found === 'nothing' || outcome.found === 'truncated') return;
    this.#p.log.info({ journal: this.journal.name, ...recoveryFacts(outcome) }, 'recovered');
  }

  #count({ bytes }: SpoolBatch, lockHeldMs: number): void {
    this.#p.meter.captured(this.journal.name, { bytes, lockHeldMs });
  }

  async #journalSize(): Promise<number> {
    try {
      return await journalSize(this.journal.path);
    } catch (error) {
      const code = error instanceof FerryError ? error.code : '';
      // Neither holds up what is in the spool, nor blobs.
      if (code !== 'JOURNAL_MISSING' && code !== 'JOURNAL_NOT_A_FILE') throw error;
      if (code === 'JOURNAL_NOT_A_FILE' || this.#open !== null) this.#sayProblem(error);
      return 0;
    }
  }

  /** An empty journal without spool and without blob links costs nothing but this look. */
  async #hasAnything(): Promise<boolean> {
    if ((await this.#journalSize()) > 0) return true;
    this.#hadSpool ??= await mayBeThere(spoolDir(this.#p.config.stateDir, this.journal.name));
    if (this.#hadSpool) return true;
    return this.journal.blobsDir !== null && (await mayBeThere(this.journal.blobsDir));
  }

  async #ready(): Promise<OpenJournal> {
    this.#open ??= await openJournal(this.#p, {
      onNote: (note) => this.#sayNotes([note]),
      blobsAreWatched: () => this.blobsAreWatched(),
    });
    return this.#open;
  }

  /** Once, with Redis there. */
  async #retireOrphans({ spool, store, routes }: OpenJournal): Promise<void> {
    if (this.#orphansRetired) return;
    const fed = new Set(routes.map(({ destination }) => destination));
    await retireOrphans({ ...this.#p, spool, store }, this.journal.name, fed);
    this.#orphansRetired = true;
  }

  async #answerAsks({ spool }: OpenJournal): Promise<void> {
    // Of its own: the feeds' store remembers lines of the archive that may be pruned by now.
    const store = new BatchStore(spool, this.#p.config.stateDir);
    const parts = { ...this.#p, spool, store };
    await this.#asks.carryOut((ask) => carryOut(parts, parseRouteName(ask.route).destination, ask));
  }

  #lookIn(inMs: number): void {
    // A timer that is asked for a fraction comes before it is over.
    const ms = Math.ceil(inMs) + 1;
    const due = performance.now() + ms;
    if (this.#stopped || due >= this.#timerDue) return;
    clearTimeout(this.#timer);
    this.#timerDue = due;
    this.#timer = setTimeout(() => {
      this.#timerDue = Number.POSITIVE_INFINITY;
      this.look('routes');
    }, ms);
  }

  #sayNotes(notes: readonly CaptureNote[]): void {
    for (const { code, message } of notes) {
      this.#p.log.warn({ journal: this.journal.name, code }, message);
    }
  }

  #sayProblem(error: unknown): void {
    if (this.#stopped) return;
    const code = this.#problem.note(error);
    if (code === null) return;
    this.#p.log.error(
      { journal: this.journal.name, err: error },
      code === 'REDIS_FULL'
        ? 'the head of each route goes on; the others follow when there is room'
        : 'the journal is left as it is; tried again at its interval',
    );
  }
}

/** What cannot be looked at is there: whoever opens it says what is wrong. */
function mayBeThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => systemCode(error) !== 'ENOENT' && systemCode(error) !== 'ENOTDIR',
  );
}

/** What a recovery found, for the log: numbers, never bytes. */
function recoveryFacts(
  outcome: Exclude<RecoveryOutcome, { found: 'nothing' | 'truncated' }>,
): Record<string, unknown> {
  return outcome.found === 'trimmed'
    ? { found: outcome.found, bytes: outcome.bytes }
    : { found: outcome.found, of: outcome.of, followedBy: outcome.captured?.sequence ?? null };
}

/** A turn that waits for a Redis that is away ends with its connections, right after this. */
const STOP_PATIENCE_MS = 4_000;

/** A route that could not be opened at once (its hash changed under us, or it drains). */
const RETRY_OPEN_MS = 500;
