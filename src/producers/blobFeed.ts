import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Logger } from 'pino';
import { crashPoint } from '../common/crashPoints.js';
import { describe, FerryError, systemCode } from '../common/errors.js';
import { routeName } from '../common/identity.js';
import type { FerryConfig } from '../config/model.js';
import { checkBlobPath } from '../protocol/index.js';
import type { QueueAccess } from '../queue/access.js';
import { type BlobJob, blobKey } from '../queue/jobs.js';
import type { BlobStates } from '../queue/routeState.js';
import { BlobDirectory } from './blobDirectory.js';
import { BlobWindow, blobsDue } from './blobWindow.js';
import type { Spool } from './spool/spool.js';
import type { PendingBlob } from './spool/types.js';

/** bin/ssl of 2022 sends links whose name starts so; that of 2015 sends every link. */
export const LINK_PREFIX = '=';

/**
 * A confirmation waits so long for others to be taken over with it: each time costs questions to
 * Redis and a sync. The far side has the blob already; its link is all that stays longer.
 */
const GATHER_MS = 50;
/** Links looked at or ended at once; then whatever else has to be done has a turn. */
const AT_ONCE = 32;

export interface BlobFeedParts {
  config: FerryConfig;
  journal: string;
  dir: string;
  /** Between two looks at every link, and at the files of all that have a job. */
  intervalMs: number;
  /**
   * Whether every change is told to `touched`: links that wait are not read again then. Else each
   * scan reads all links.
   */
  isWatched: () => boolean;
  /** Some destination speaks the dialect of 2015, whose blob links have any name. */
  everyLink: boolean;
  /** Destinations in the configuration; an orphaned route's blobs wait, as its batches do. */
  wanted: ReadonlySet<string>;
  spool: Spool;
  access: QueueAccess;
  log: Logger;
}

/**
 * The blobs of one journal: from a symlink in its blob directory to the link's end.
 *
 *     link seen --captured or journal empty--> pending (in the spool; in its window a job per route)
 *     pending --each route confirmed--> noted --> link removed --> file compared with what was sent
 *        equal: done          changed: the link is made again, and the next version begins
 *
 * Removing first and comparing then loses no change: a writer that changes the file after the
 * comparison makes its link again itself, as it does for every change.
 */
export class BlobFeed {
  readonly #p: BlobFeedParts;
  readonly #dir: BlobDirectory;
  /** By destination in the configuration: what of its route has a job in Redis. */
  readonly #windows: ReadonlyMap<string, BlobWindow>;
  readonly #keys = new WeakMap<PendingBlob, string>();
  readonly #complained = new Set<string>();
  /** Names that changed since the last scan, as the watcher says. */
  readonly #touched = new Set<string>();
  /** What the last scan found, until it is taken. */
  #untaken: readonly string[] = [];
  /** `performance.now()` */
  #scanAllAt = 0;
  #lookForFilesAt = 0;
  #stepAt = 0;
  /** Counts losses of Redis. */
  #era = 0;

  constructor(parts: BlobFeedParts) {
    this.#p = parts;
    this.#dir = new BlobDirectory(parts.dir);
    this.#windows = new Map([...parts.wanted].map((to) => [to, new BlobWindow()]));
  }

  /** Redis lost something: jobs are added again (which changes nothing for those that are there). */
  forgetJobs(): void {
    for (const window of this.#windows.values()) window.clear();
    this.#era += 1;
    this.#stepAt = 0;
  }

  /** Some blob of the journal was confirmed, says Redis. */
  hasNews(): void {
    this.#stepAt = Math.min(this.#stepAt, performance.now() + GATHER_MS);
  }

  /** Milliseconds until `step` is worth its while; 0: now. */
  get stepInMs(): number {
    return Math.max(0, this.#stepAt - performance.now());
  }

  /** Something happened to this name in the blob directory. */
  touched(name: string): void {
    this.#touched.add(name);
  }

  /**
   * Links that no pending version stands for: among the names that were touched, and from time to
   * time among all: with thousands of blobs on their way, to look at all of them whenever one is
   * confirmed would leave time for nothing else. Called before the journal is looked at: what is
   * found here belongs to the capture that follows. Never throws: trouble with a link, or with the
   * whole directory, must not hold up the journal.
   */
  async scan(): Promise<{ link: string; text: string }[]> {
    const names = await this.#namesToScan();
    const fresh: { link: string; text: string }[] = [];
    const links = names.filter((name) => this.#p.everyLink || name.startsWith(LINK_PREFIX));
    await inGroups(links, async (link) => {
      const text = await this.#dir.textOf(link);
      if (text === null) return; // a plain file, or gone again
      if (this.#p.spool.pendingBlob(link)?.text === text) return;
      if (!this.#isSendable(link, text)) return;
      await this.#alone(link, async () => {
        if (!(await this.#isDangling(link))) fresh.push({ link, text });
      });
    });
    this.#untaken = fresh.map(({ link }) => link);
    return fresh;
  }

  async #namesToScan(): Promise<string[]> {
    const now = performance.now();
    const fresh = new Set([...this.#touched, ...this.#untaken]);
    this.#touched.clear();
    // What was made anew before there was somebody to be told is found by the first look at all.
    const isWatched = this.#p.isWatched() && this.#scanAllAt > 0;
    if (now < this.#scanAllAt && isWatched) return [...fresh];
    try {
      const all = await this.#dir.names();
      this.#scanAllAt = now + this.#p.intervalMs;
      // A link that was made anew is touched; of thousands that wait not each is read again.
      const waits = (name: string): boolean =>
        isWatched && !fresh.has(name) && this.#p.spool.pendingBlob(name) !== undefined;
      return all.filter((name) => !waits(name));
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') this.#complain('', error);
      return [];
    }
  }

  /** Takes links into the spool, to follow the batch `follows`; they share one flush. */
  async take(links: readonly { link: string; text: string }[], follows: number): Promise<void> {
    const first = this.#p.spool.nextBlobVersion();
    await Promise.all(
      links.map(({ link, text }, index) =>
        this.#p.spool.recordBlobSeen(link, {
          text,
          version: first + index,
          afterSequence: follows,
        }),
      ),
    );
    this.#untaken = [];
    if (links.length === 0) return;
    this.#stepAt = 0;
    crashPoint('blob.seen');
  }

  /**
   * Feeds jobs, takes over confirmations, ends blobs that every route has confirmed. When there are
   * news, and else each interval, for those that were lost.
   */
  async step(): Promise<void> {
    // News that come from here on are for the next one.
    this.#stepAt = performance.now() + this.#p.intervalMs;
    const era = this.#era;
    await this.#dropDangling();
    const destinations = this.#destinations();
    const states = await this.#statesOf(destinations);
    const pending = this.#p.spool.pendingBlobs();
    const due = blobsDue(pending, destinations, this.#windows, states, (blob) => this.#keyOf(blob));
    await Promise.all(
      due.confirmed.map(([{ link, version }, to]) =>
        this.#p.spool.recordBlobConfirmed(link, version, to),
      ),
    );
    for (const [blob, to] of due.confirmed) this.#windows.get(to)?.delete(blob);
    // Of a former process some may be there, and asleep.
    await this.#wake(due.unfed);
    if (era === this.#era) for (const [blob, to] of due.unfed) this.#windows.get(to)?.add(blob);
    if (due.complete.length > 0) await this.#finish(due.complete, states);
  }

  /**
   * Jobs that sleep although their batch is confirmed, or are gone (a kill before the wake-up, a
   * loss of Redis, a click on "remove"), run again. Part of correctness, as `wakeHead` is.
   */
  async wake(): Promise<void> {
    const heads = new Map<string, number>();
    for (const destination of this.#p.wanted) {
      const state = await this.#p.access.order.state(routeName(this.#p.journal, destination));
      if (state !== null && !state.paused) heads.set(destination, state.head);
    }
    const due: [PendingBlob, string][] = [];
    for (const blob of this.#p.spool.pendingBlobs()) {
      for (const [to, head] of heads) {
        const isFed = this.#windows.get(to)?.has(blob);
        if (isFed && head > blob.afterSequence) due.push([blob, to]);
      }
    }
    await this.#wake(due);
  }

  /**
   * A job that is over runs again only if it came to nothing. Otherwise its blob might be forgotten
   * in Redis by the time it runs, and would be sent once more.
   */
  async #wake(blobs: readonly [PendingBlob, string][]): Promise<void> {
    const { queues } = this.#p.access;
    const over = await queues.wakeBlobs(blobs.map(([blob, to]) => this.#job(blob, to)));
    if (over.length === 0) return;
    const states = await this.#statesOf([...new Set(over.map((job) => job.destination))]);
    const owed = over.filter(({ destination, link, version }) => {
      const confirmed = states.get(destination)?.confirmed.get(blobKey(link))?.version ?? 0;
      // Looked at behind the states: what is forgotten there was done here before.
      return confirmed < version && this.#p.spool.pendingBlob(link)?.version === version;
    });
    await queues.rerunBlobs(owed);
  }

  get pending(): boolean {
    for (const _ of this.#p.spool.pendingBlobs()) return true;
    return false;
  }

  /** Every route of the journal, orphaned ones too. */
  #destinations(): string[] {
    return [...this.#p.spool.routes()].map(({ destination }) => destination);
  }

  /** By destination: one question per route. */
  async #statesOf(destinations: readonly string[]): Promise<Map<string, BlobStates>> {
    const all = new Map<string, BlobStates>();
    for (const destination of destinations) {
      const route = routeName(this.#p.journal, destination);
      all.set(destination, await this.#p.access.order.blobStates(route, this.#p.spool.stream));
    }
    return all;
  }

  /** Asked for in every step. */
  #keyOf(blob: PendingBlob): string {
    const known = this.#keys.get(blob);
    if (known !== undefined) return known;
    const key = blobKey(blob.link);
    this.#keys.set(blob, key);
    return key;
  }

  #job(blob: PendingBlob, destination: string): BlobJob {
    return {
      route: routeName(this.#p.journal, destination),
      journal: this.#p.journal,
      destination,
      stream: this.#p.spool.stream,
      link: blob.link,
      text: blob.text,
      version: blob.version,
      follows: blob.afterSequence,
      payload:
        this.#p.config.payloads === 'redis'
          ? { kind: 'transfer' }
          : { kind: 'file', path: this.#dir.linkPath(blob.link) },
    };
  }

  /** All of them share the sync that must come before the first link is removed. */
  async #finish(blobs: readonly PendingBlob[], states: Map<string, BlobStates>): Promise<void> {
    await this.#p.spool.sync();
    crashPoint('blob.noted');
    const done: PendingBlob[] = [];
    try {
      await inGroups(blobs, (blob) =>
        this.#alone(blob.link, async () => {
          await this.#end(blob, states);
          done.push(blob);
        }),
      );
    } finally {
      await this.#forget(done);
    }
  }

  async #end(blob: PendingBlob, states: Map<string, BlobStates>): Promise<void> {
    const { spool, log, journal } = this.#p;
    const key = this.#keyOf(blob);
    const sent = this.#destinations().map((to) => states.get(to)?.confirmed.get(key)?.sent ?? null);
    // Another text by now: a new blob under this name, which the next scan takes.
    const text = await this.#dir.textOf(blob.link);
    if (text === blob.text) await this.#dir.remove(blob.link);
    crashPoint('blob.unlinked');
    const isOurs = text === blob.text || text === null;
    if (isOurs && (await this.#dir.hasChanged(blob.text, sent))) {
      log.info(
        { journal, link: blob.link },
        'the blob changed while it was sent; it is sent again',
      );
      // Recorded as done only when a power cut cannot take the link away.
      await this.#dir.makeAgain(blob.link, blob.text);
    }
    await spool.recordBlobDone(blob.link, blob.version);
    // Made again meanwhile, it was taken for the one that was under way.
    this.#touched.add(blob.link);
  }

  /** A removed link ends its blob: there is nothing left to send. */
  async #isDangling(link: string): Promise<boolean> {
    if (await this.#dir.leadsTo(link)) return false;
    await this.#dir.remove(link);
    this.#p.log.warn({ journal: this.#p.journal, link }, 'a blob link led nowhere and was removed');
    return true;
  }

  /** Ends blobs that have a job and whose file is gone, link and all: now and then. */
  async #dropDangling(): Promise<void> {
    const now = performance.now();
    if (now < this.#lookForFilesAt) return;
    this.#lookForFilesAt = now + this.#p.intervalMs;
    const windows = [...this.#windows.values()];
    const fed = [...this.#p.spool.pendingBlobs()].filter((blob) =>
      windows.some((window) => window.has(blob)),
    );
    await inGroups(fed, (blob) =>
      this.#alone(blob.link, async () => {
        if (!(await this.#dir.leadsTo(blob.text))) await this.#drop(blob);
      }),
    );
  }

  async #drop(blob: PendingBlob): Promise<void> {
    if ((await this.#dir.textOf(blob.link)) === blob.text) await this.#isDangling(blob.link);
    await this.#p.spool.recordBlobDone(blob.link, blob.version);
    for (const destination of this.#destinations()) {
      const route = routeName(this.#p.journal, destination);
      await this.#p.access.queues.removeBlobs(route, this.#p.spool.stream, [blob]);
    }
    await this.#forget([blob]);
  }

  /** Runs the work of one blob so that its trouble stays its own; errors of Redis pass. */
  async #alone(link: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#complained.delete(link);
    } catch (error) {
      if (error instanceof FerryError || systemCode(error) === undefined) throw error;
      this.#complain(link, error);
    }
  }

  #complain(link: string, err: unknown): void {
    if (this.#complained.has(link)) return;
    this.#complained.add(link);
    this.#p.log.error(
      { journal: this.#p.journal, dir: this.#p.dir, link, err },
      'a blob waits, the journal goes on: look at its link and at the rights of the directory',
    );
  }

  /** Their links are gone and every route has them: nothing about them is kept in Redis. */
  async #forget(blobs: readonly PendingBlob[]): Promise<void> {
    const links = blobs.map(({ link }) => link);
    for (const window of this.#windows.values()) for (const blob of blobs) window.delete(blob);
    for (const destination of this.#destinations()) {
      await this.#p.access.order.forgetBlobs(routeName(this.#p.journal, destination), links);
    }
  }

  /** Says once why a link cannot be sent, and leaves it where it is. */
  #isSendable(link: string, text: string): boolean {
    const problem = blobPathProblem(text);
    if (problem === null) return true;
    if (!this.#complained.has(link)) {
      this.#complained.add(link);
      this.#p.log.error(
        { journal: this.#p.journal, link, code: 'BLOB_PATH_INVALID' },
        `blob link not sent: ${problem}`,
      );
    }
    return false;
  }
}

/** Does the work for all of them, some at once. */
async function inGroups<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < items.length; at += AT_ONCE) {
    if (at > 0) await nextTurn();
    await Promise.all(items.slice(at, at + AT_ONCE).map(work));
  }
}

/** Why a link text cannot be a path on the wire; null when it can. */
function blobPathProblem(text: string): string | null {
  try {
    checkBlobPath(text);
  } catch (error) {
    return describe(error);
  }
  if (text.startsWith('/') || text.split('/').includes('..')) {
    return 'it leaves the blob directory: point the link at a path below it';
  }
  return null;
}
