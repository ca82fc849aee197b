import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { systemCode } from '../common/errors.js';
import { parseRouteName } from '../common/identity.js';
import type { Meter } from '../common/meter.js';
import { NO_PROGRESS, type StartProgress } from '../common/progress.js';
import type { JournalGauges, ReadyCheck, Role, RoleContext } from '../common/role.js';
import { Semaphore } from '../common/semaphore.js';
import type { FerryConfig, JournalConfig } from '../config/model.js';
import {
  JournalClaims,
  resolveJournal,
  ruleFor,
  ruleMatches,
  takesEveryLink,
} from '../config/routes.js';
import type { QueueAccess } from '../queue/access.js';
import type { PayloadStore } from '../queue/payload/payloadStore.js';
import { TransferServer } from '../queue/payload/transferServer.js';
import { LINK_PREFIX } from './blobFeed.js';
import { readBootId } from './capture/bootId.js';
import { type DirectoryLock, lockDirectory } from './capture/directoryLock.js';
import { JournalPipeline } from './journalPipeline.js';
import { OperatorDesk } from './operatorDesk.js';
import { payloadsOf } from './payloadSource.js';
import { sealsDirIn } from './spool/sealCopies.js';
import { SealLog } from './spool/sealLog.js';
import { spooledJournals } from './spoolFiles.js';
import { DirectoryWatcher } from './watch/watcher.js';

/** Captures at once: each keeps a few files open and waits for a disk, and many share a sync. */
const CAPTURES_AT_ONCE = 64;

/**
 * So many journals of one directory are locked one by one, so that other producers can have others
 * there. Each costs a lease that is refreshed for ever: with 10,000 it was 15 % of a core.
 */
const JOURNAL_LOCKS_MAX = 16;

/** Between two looks at everything that is unconfirmed, for news that were lost. */
const LOOK_AT_PENDING_MS = 5_000;

/** Every so many of them, sleepers are woken too: it costs a few questions per waiting route. */
const LOOKS_PER_WAKE = 4;

/**
 * Starts the producer of every journal in the configuration.
 *
 * @returns when its locks are held; captures begin when Redis answers
 * @throws FerryError PRODUCER_ALREADY_RUNNING when another producer has one of the directories
 */
export async function startProducer(
  config: FerryConfig,
  access: QueueAccess,
  context: RoleContext,
): Promise<Role> {
  const producer = new ProducerRole(config, access, context, await readBootId());
  await producer.start();
  return producer;
}

class ProducerRole implements Role {
  readonly failed: Promise<never>;
  #fail: (error: unknown) => void = () => undefined;
  readonly #config: FerryConfig;
  readonly #access: QueueAccess;
  readonly #log: Logger;
  readonly #meter: Meter;
  readonly #progress: StartProgress;
  readonly #pipelines = new Map<string, JournalPipeline>();
  /** The same by their files: each event of a directory asks. */
  readonly #byPath = new Map<string, JournalPipeline>();
  readonly #claims: JournalClaims;
  readonly #refused = new Set<string>();
  /** By directory: one for all of it, or one for each journal in it. */
  readonly #locks = new Map<string, DirectoryLock[]>();
  readonly #abort = new AbortController();
  readonly #watchers: DirectoryWatcher[] = [];
  readonly #blobWatchers = new Map<string, DirectoryWatcher>();
  readonly #captures = new Semaphore(CAPTURES_AT_ONCE);
  readonly #payloads: PayloadStore;
  readonly #stopListening: (() => void)[] = [];
  readonly #desk: OperatorDesk;
  readonly #bootId: string;
  readonly #seals: SealLog;
  #transfers: TransferServer | null = null;
  #looks = 0;
  #waking: Promise<void> | null = null;
  #wakeAgain = false;
  #timer: NodeJS.Timeout | undefined;
  #lastActiveAt = performance.now();
  #stopped: Promise<void> | null = null;

  constructor(
    config: FerryConfig,
    access: QueueAccess,
    { logger, meter, progress = NO_PROGRESS }: RoleContext,
    bootId: string,
  ) {
    this.#bootId = bootId;
    this.#seals = new SealLog(sealsDirIn(config.stateDir), { bootId });
    this.#progress = progress;
    this.#config = config;
    this.#claims = new JournalClaims(config.destinations);
    this.#access = access;
    this.#log = logger.child({ role: 'producer' });
    this.#meter = meter;
    this.#payloads = payloadsOf(config, access);
    this.#desk = new OperatorDesk(
      access,
      (journal) => this.#pipelines.get(journal) ?? null,
      this.#log,
    );
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined); // looked at by whoever runs the role
  }

  async start(): Promise<void> {
    await mkdir(join(this.#config.stateDir, 'spool'), { recursive: true, mode: 0o700 });
    this.#transfers = new TransferServer(
      this.#access.data,
      this.#access.keys,
      (subject) =>
        this.#pipelines.get(subject.journal)?.openSubject(subject) ?? Promise.resolve(null),
      this.#log,
      this.#access.subscriber,
    );
    this.#stopListening.push(
      this.#access.subscriber.listen(this.#access.keys.news(), (news) => this.#onNews(news)),
      this.#access.scripts.onReady(() => {
        for (const pipeline of this.#pipelines.values()) pipeline.redisChanged();
        this.#desk.look();
      }),
    );
    try {
      for (const [dir, { sweepMs }] of this.#directories()) await this.#takeDirectory(dir, sweepMs);
    } catch (error) {
      await this.stop();
      throw error;
    }
    for (const rule of this.#config.journals) {
      if (rule.kind === 'path') this.#discover(rule.path);
    }
    // A journal whose file is gone may have batches that nobody has confirmed yet.
    for (const name of await spooledJournals(this.#config.stateDir)) {
      for (const rule of this.#config.journals) {
        if (rule.kind === 'match' && ruleMatches(rule, name)) this.#discover(join(rule.dir, name));
      }
    }
    this.#showReading();
    this.#scheduleLook();
    this.#log.info({ journals: this.#pipelines.size }, 'producer started');
  }

  lastActiveAt(): number {
    return this.#lastActiveAt;
  }

  readiness(): readonly ReadyCheck[] {
    const missing = [...this.#directories().keys()].filter((dir) => !this.#locks.has(dir));
    const message =
      missing.length === 0
        ? 'every journal directory is locked'
        : `not there, and so not locked: ${missing.join(', ')}`;
    return [{ name: 'locks', ok: missing.length === 0, message }];
  }

  *journals(): Iterable<JournalGauges> {
    for (const pipeline of this.#pipelines.values()) {
      const gauges = pipeline.gauges();
      if (gauges !== null) yield gauges;
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#timer);
    for (const stop of this.#stopListening) stop();
    await Promise.all([...this.#watchers, ...this.#blobWatchers.values()].map((w) => w.close()));
    await this.#transfers?.stop();
    await Promise.all([...this.#pipelines.values()].map((pipeline) => pipeline.stop()));
    await this.#seals.close();
    await Promise.all([...this.#locks.values()].flat().map((lock) => lock.release()));
    this.#log.info('producer stopped');
  }

  /** Every directory that holds journals, once. */
  #directories(): Map<string, { sweepMs: number }> {
    const directories = new Map<string, { sweepMs: number }>();
    for (const rule of this.#config.journals) {
      const dir = rule.kind === 'match' ? rule.dir : dirname(rule.path);
      const sweepMs = Math.min(rule.intervalMs, directories.get(dir)?.sweepMs ?? Infinity);
      directories.set(dir, { sweepMs });
    }
    return directories;
  }

  /**
   * Locks a directory and watches it. One that is missing is taken when it appears: its writer
   * may start after us.
   *
   * @throws FerryError PRODUCER_ALREADY_RUNNING
   */
  async #takeDirectory(dir: string, sweepMs: number): Promise<void> {
    const watcher = new DirectoryWatcher({
      dir,
      intervalMs: sweepMs,
      filter: (name) =>
        this.#byPath.has(`${dir}/${name}`) ||
        ruleFor(this.#config.journals, join(dir, name)) !== null,
      repeatNonEmpty: true,
      onTrouble: (err) => this.#log.warn({ err, dir }, 'the directory cannot be watched'),
      onBack: () => {
        this.#log.info({ dir }, 'the directory is back');
        this.#lockLater(dir);
      },
    });
    this.#watchers.push(watcher);
    try {
      await this.#lock(dir);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    watcher.onLook((name) => {
      if (!this.#locks.has(dir)) return;
      const known = this.#byPath.get(`${dir}/${name}`) ?? this.#discover(join(dir, name));
      known?.look('journal');
    });
    await watcher.start();
  }

  async #lock(dir: string): Promise<void> {
    if (this.#locks.has(dir)) return;
    const locks: DirectoryLock[] = [];
    try {
      for (const journal of this.#namedJournals(dir) ?? [undefined]) {
        const lock = await lockDirectory({
          journalDir: dir,
          ...(journal === undefined ? {} : { journal }),
          stateDir: this.#config.stateDir,
          onCompromised: (error) => this.#fail(error),
          onWait: (message) => this.#log.warn({ dir }, message),
          signal: this.#abort.signal,
        });
        locks.push(lock);
      }
    } catch (error) {
      for (const lock of locks) await lock.release();
      throw error;
    }
    this.#locks.set(dir, locks);
  }

  /** The journals of a directory that are locked one by one; null: the directory is. */
  #namedJournals(dir: string): string[] | null {
    const names: string[] = [];
    for (const rule of this.#config.journals) {
      if (rule.kind === 'match') {
        if (rule.dir === dir) return null;
      } else if (dirname(rule.path) === dir) names.push(basename(rule.path));
    }
    return names.length <= JOURNAL_LOCKS_MAX ? names : null;
  }

  #lockLater(dir: string): void {
    this.#lock(dir).then(
      () => this.#watchers.find((watcher) => watcher.dir === dir)?.sweepNow(),
      (error: unknown) => this.#fail(error),
    );
  }

  /** The pipeline of the journal that a file is; null for other files. */
  #discover(path: string): JournalPipeline | null {
    const rule = ruleFor(this.#config.journals, path);
    if (rule === null || this.#refused.has(path)) return null;
    try {
      const journal = resolveJournal(rule, basename(path));
      const known = this.#pipelines.get(journal.name);
      if (known !== undefined && known.journal.path === path) return known;
      const [collision] = this.#claims.take(journal);
      if (collision !== undefined) {
        this.#claims.giveBack(journal);
        throw collision;
      }
      return this.#add(journal);
    } catch (error) {
      this.#refused.add(path);
      this.#log.error({ err: error, path }, 'the file is not taken as a journal');
      return null;
    }
  }

  #add(journal: JournalConfig): JournalPipeline {
    const pipeline = new JournalPipeline({
      config: this.#config,
      journal,
      access: this.#access,
      payloads: this.#payloads,
      bootId: this.#bootId,
      captures: this.#captures,
      seals: this.#seals,
      meter: this.#meter,
      log: this.#log,
      onActive: () => {
        this.#lastActiveAt = performance.now();
      },
    });
    this.#pipelines.set(journal.name, pipeline);
    this.#byPath.set(journal.path, pipeline);
    if (journal.blobsDir !== null) this.#watchBlobs(journal, pipeline);
    pipeline.look('routes');
    return pipeline;
  }

  #watchBlobs(journal: JournalConfig, pipeline: JournalPipeline): void {
    const dir = journal.blobsDir;
    if (dir === null || this.#blobWatchers.has(dir)) return;
    const everyLink = takesEveryLink(journal, this.#config.destinations);
    const watcher = new DirectoryWatcher({
      dir,
      intervalMs: journal.intervalMs,
      filter: (name) => everyLink || name.startsWith(LINK_PREFIX),
    });
    this.#blobWatchers.set(dir, watcher);
    watcher.onLook((name) => pipeline.blobTouched(name));
    pipeline.blobsAreWatched = () => watcher.isWatching;
    void watcher.start();
  }

  /** `ack <route>`, `ask <route>`, `blob <route> <key> <version>` or `wake`. */
  #onNews(news: string): void {
    const [what, route] = news.split(' ');
    if (what === 'ask') this.#desk.look();
    // Somebody has removed jobs by hand.
    if (what === 'wake') void this.#wakeSleepers();
    if ((what !== 'ack' && what !== 'blob') || route === undefined) return;
    const pipeline = this.#pipelines.get(parseRouteName(route).journal);
    if (what === 'ack') pipeline?.look('routes');
    else pipeline?.blobConfirmed();
  }

  /** With thousands of journals it takes a while until each has been looked at once. */
  #showReading(): void {
    const pipelines = [...this.#pipelines.values()];
    const shown = this.#progress('looking at journals');
    let done = 0;
    for (const { firstTurn } of pipelines) {
      void firstTurn.then(() => {
        done += 1;
        shown.at(done, pipelines.length);
        if (done < pipelines.length) return;
        shown.end();
        void this.#freeLeftSeals();
      });
    }
    if (pipelines.length === 0) shown.end();
    this.#stopListening.push(() => shown.end());
  }

  /** Every spool has taken by now what was its own in them. */
  async #freeLeftSeals(): Promise<void> {
    const damaged = await this.#seals.freeLeft();
    if (damaged.length === 0) return;
    this.#log.warn(
      { files: damaged },
      'seal logs of a former process cannot be read whole and are kept: after a power cut, a journal may lack its last batches; check the disk',
    );
  }

  #scheduleLook(): void {
    if (this.#abort.signal.aborted) return;
    this.#timer = setTimeout(() => {
      void this.#lookAtPending().then(() => this.#scheduleLook());
    }, LOOK_AT_PENDING_MS);
  }

  async #lookAtPending(): Promise<void> {
    this.#looks += 1;
    this.#desk.look();
    for (const pipeline of this.#pipelines.values()) {
      pipeline.pruneArchive();
      if (pipeline.pending) pipeline.look('routes');
    }
    if (this.#looks % LOOKS_PER_WAKE === 0) await this.#wakeSleepers();
  }

  #wakeSleepers(): Promise<void> {
    this.#wakeAgain = true;
    this.#waking ??= this.#wakeThem().finally(() => {
      this.#waking = null;
    });
    return this.#waking;
  }

  async #wakeThem(): Promise<void> {
    while (this.#wakeAgain) {
      this.#wakeAgain = false;
      for (const pipeline of this.#pipelines.values()) {
        if (!pipeline.pending || this.#abort.signal.aborted) continue;
        await pipeline.wake().catch(() => undefined); // Redis is away: the next look comes
      }
    }
  }
}
