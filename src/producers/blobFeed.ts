import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readlink, stat, symlink, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { crashPoint } from '../common/crashPoints.js';
import { describe, systemCode } from '../common/errors.js';
import { nodeFileSystem } from '../common/fileSystem.js';
import { routeName } from '../common/identity.js';
import type { FerryConfig } from '../config/model.js';
import { checkBlobPath } from '../protocol/index.js';
import type { QueueAccess } from '../queue/access.js';
import { type BlobJob, type BlobSent, blobKey } from '../queue/jobs.js';
import { blobJobId } from '../queue/keys.js';
import type { Spool } from './spool/spool.js';
import type { PendingBlob } from './spool/types.js';

type ConfirmedBlobs = Awaited<ReturnType<QueueAccess['order']['confirmedBlobs']>>;

/** bin/ssl of 2022 sends links whose name starts so; that of 2015 sends every link. */
export const LINK_PREFIX = '=';

export interface BlobFeedParts {
  config: FerryConfig;
  journal: string;
  dir: string;
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
 *     link seen --captured or journal empty--> pending (in the spool, a job per route)
 *     pending --each route confirmed--> noted --> link removed --> file compared with what was sent
 *        equal: done          changed: the link is made again, and the next version begins
 *
 * Removing first and comparing then loses no change: a writer that changes the file after the
 * comparison makes its link again itself, as it does for every change.
 */
export class BlobFeed {
  readonly #p: BlobFeedParts;
  /** Jobs known to be in Redis: `link version destination`. */
  readonly #fed = new Set<string>();
  readonly #complained = new Set<string>();

  constructor(parts: BlobFeedParts) {
    this.#p = parts;
  }

  /** Redis lost something: jobs are added again (which changes nothing for those that are there). */
  forgetJobs(): void {
    this.#fed.clear();
  }

  /**
   * Links that no pending version stands for. Called before the journal is looked at: what is
   * found here belongs to the capture that follows. Never throws: trouble with a link, or with
   * the whole directory, must not hold up the journal.
   */
  async scan(): Promise<{ link: string; text: string }[]> {
    const names = await readdir(this.#p.dir).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') this.#complain('', error);
      return [];
    });
    const pending = new Map([...this.#p.spool.pendingBlobs()].map((blob) => [blob.link, blob]));
    const fresh: { link: string; text: string }[] = [];
    for (const link of names) {
      if (!this.#p.everyLink && !link.startsWith(LINK_PREFIX)) continue;
      const text = await readlink(join(this.#p.dir, link)).catch(() => null);
      if (text === null) continue; // a plain file, or gone again
      if (pending.get(link)?.text === text) continue;
      if (!this.#isSendable(link, text)) continue;
      await this.#alone(link, async () => {
        if (!(await this.#isDangling(link))) fresh.push({ link, text });
      });
    }
    return fresh;
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
    if (links.length > 0) crashPoint('blob.seen');
  }

  /** Feeds jobs, takes over confirmations, ends blobs that every route has confirmed. */
  async step(): Promise<void> {
    const confirmed = await this.#allConfirmed();
    for (const blob of [...this.#p.spool.pendingBlobs()]) {
      let open = 0;
      for (const destination of this.#destinations()) {
        if (blob.confirmedBy.includes(destination)) continue;
        if ((confirmed.get(destination)?.get(blobKey(blob.link))?.version ?? 0) >= blob.version) {
          await this.#p.spool.recordBlobConfirmed(blob.link, blob.version, destination);
          continue;
        }
        open += 1;
        if (this.#p.wanted.has(destination)) await this.#addJob(blob, destination);
      }
      if (open === 0) await this.#alone(blob.link, () => this.#finish(blob, confirmed));
    }
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
    for (const blob of [...this.#p.spool.pendingBlobs()]) {
      for (const [destination, head] of heads) {
        if (blob.confirmedBy.includes(destination) || head <= blob.afterSequence) continue;
        await this.#p.access.queues.wakeBlob(this.#job(blob, destination));
      }
    }
  }

  get pending(): boolean {
    for (const _ of this.#p.spool.pendingBlobs()) return true;
    return false;
  }

  /** Every route of the journal, orphaned ones too. */
  #destinations(): string[] {
    return [...this.#p.spool.routes()].map(({ destination }) => destination);
  }

  /** What each route has confirmed, by destination and blob key: one question per route. */
  async #allConfirmed(): Promise<Map<string, ConfirmedBlobs>> {
    const all = new Map<string, ConfirmedBlobs>();
    for (const destination of this.#destinations()) {
      const route = routeName(this.#p.journal, destination);
      all.set(destination, await this.#p.access.order.confirmedBlobs(route, this.#p.spool.stream));
    }
    return all;
  }

  async #addJob(blob: PendingBlob, destination: string): Promise<void> {
    const key = `${this.#p.spool.stream} ${blob.link} ${blob.version} ${destination}`;
    if (this.#fed.has(key)) return;
    await this.#p.access.queues.addBlob(this.#job(blob, destination));
    this.#fed.add(key);
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
          : { kind: 'file', path: join(this.#p.dir, blob.link) },
    };
  }

  async #finish(blob: PendingBlob, confirmed: Map<string, ConfirmedBlobs>): Promise<void> {
    const { spool, log, journal } = this.#p;
    const key = blobKey(blob.link);
    const sent = this.#destinations().map((to) => confirmed.get(to)?.get(key)?.sent ?? null);
    await spool.sync();
    crashPoint('blob.noted');
    const path = join(this.#p.dir, blob.link);
    // Another text by now: a new blob under this name, which the next scan takes.
    const text = await readlink(path).catch(() => null);
    if (text === blob.text) await unlink(path);
    crashPoint('blob.unlinked');
    const file = resolve(this.#p.dir, blob.text);
    if ((text === blob.text || text === null) && (await hasChanged(file, sent))) {
      log.info(
        { journal, link: blob.link },
        'the blob changed while it was sent; it is sent again',
      );
      await symlink(blob.text, path).catch((error: unknown) => {
        if (systemCode(error) !== 'EEXIST') throw error; // its writer was quicker
      });
      // Recorded as done only when a power cut cannot take the link away.
      await nodeFileSystem.syncDirectory(this.#p.dir);
    }
    await spool.recordBlobDone(blob.link, blob.version);
    await this.#forget(blob);
  }

  /** A removed link ends its blob: there is nothing left to send. */
  async #isDangling(link: string): Promise<boolean> {
    const path = join(this.#p.dir, link);
    try {
      await stat(path);
      return false;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    await unlink(path);
    this.#p.log.warn({ journal: this.#p.journal, link }, 'a blob link led nowhere and was removed');
    return true;
  }

  /** Ends pending blobs whose file is gone, link and all. */
  async dropDangling(): Promise<void> {
    for (const blob of [...this.#p.spool.pendingBlobs()]) {
      await this.#alone(blob.link, async () => {
        const gone = await stat(resolve(this.#p.dir, blob.text)).then(
          () => false,
          (error: unknown) => systemCode(error) === 'ENOENT',
        );
        if (gone) await this.#drop(blob);
      });
    }
  }

  async #drop(blob: PendingBlob): Promise<void> {
    const path = join(this.#p.dir, blob.link);
    if ((await readlink(path).catch(() => null)) === blob.text) await this.#isDangling(blob.link);
    await this.#p.spool.recordBlobDone(blob.link, blob.version);
    for (const destination of this.#destinations()) {
      const route = routeName(this.#p.journal, destination);
      const id = blobJobId(route, this.#p.spool.stream, blobKey(blob.link), blob.version);
      await this.#p.access.queues.blobs.remove(id).catch(() => 0);
    }
    await this.#forget(blob);
  }

  /** Runs the work of one blob so that its trouble stays its own; errors of Redis pass. */
  async #alone(link: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#complained.delete(link);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
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

  /** Its link is gone and every route has it: nothing about it is kept in Redis. */
  async #forget(blob: PendingBlob): Promise<void> {
    for (const destination of this.#destinations()) {
      this.#fed.delete(`${this.#p.spool.stream} ${blob.link} ${blob.version} ${destination}`);
      await this.#p.access.order.forgetBlob(routeName(this.#p.journal, destination), blob.link);
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

async function hasChanged(file: string, sent: readonly (BlobSent | null)[]): Promise<boolean> {
  const now = await stat(file).catch(() => null);
  if (now === null) return false; // gone: nothing to send
  let digest: string | undefined;
  for (const was of sent) {
    if (was === null) return true; // nobody knows what was sent: send once more
    if (was.inode !== now.ino || was.bytes !== now.size || was.mtimeMs !== now.mtimeMs) return true;
    if (was.sha256 !== null) {
      digest ??= await digestOf(file);
      if (digest !== was.sha256) return true;
    }
  }
  return false;
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
    hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}
