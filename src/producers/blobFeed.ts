import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readlink, stat, symlink, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import type { FerryConfig } from '../config/model.js';
import { checkBlobPath } from '../protocol/index.js';
import type { QueueAccess } from '../queue/access.js';
import { type BlobJob, type BlobSent, blobKey } from '../queue/jobs.js';
import { blobJobId } from '../queue/keys.js';
import { crashPoint } from '../shared/crashPoints.js';
import { describe, systemCode } from '../shared/errors.js';
import { routeName } from '../shared/identity.js';
import type { Spool } from './spool/spool.js';
import type { PendingBlob } from './spool/types.js';

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
   * found here belongs to the capture that follows.
   */
  async scan(): Promise<{ link: string; text: string }[]> {
    const names = await readdir(this.#p.dir).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    });
    const pending = new Map([...this.#p.spool.pendingBlobs()].map((blob) => [blob.link, blob]));
    const fresh: { link: string; text: string }[] = [];
    for (const link of names) {
      if (!this.#p.everyLink && !link.startsWith(LINK_PREFIX)) continue;
      const text = await readlink(join(this.#p.dir, link)).catch(() => null);
      if (text === null) continue; // a plain file, or gone again
      if (pending.get(link)?.text === text) continue;
      if (!this.#isSendable(link, text)) continue;
      if (await this.#isDangling(link)) continue;
      fresh.push({ link, text });
    }
    return fresh;
  }

  /** Takes links into the spool, to follow the batch `follows`. */
  async take(links: readonly { link: string; text: string }[], follows: number): Promise<void> {
    for (const { link, text } of links) {
      const version = this.#p.spool.nextBlobVersion();
      await this.#p.spool.recordBlobSeen(link, { text, version, afterSequence: follows });
      crashPoint('blob.seen');
    }
  }

  /** Feeds jobs, takes over confirmations, ends blobs that every route has confirmed. */
  async step(): Promise<void> {
    for (const blob of [...this.#p.spool.pendingBlobs()]) {
      let open = 0;
      for (const destination of this.#destinations()) {
        if (blob.confirmedBy.includes(destination)) continue;
        if (await this.#isConfirmed(blob, destination)) {
          await this.#p.spool.recordBlobConfirmed(blob.link, blob.version, destination);
          continue;
        }
        open += 1;
        if (this.#p.wanted.has(destination)) await this.#addJob(blob, destination);
      }
      if (open === 0) await this.#finish(blob);
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

  async #isConfirmed(blob: PendingBlob, destination: string): Promise<boolean> {
    const confirmed = await this.#confirmed(blob, destination);
    return confirmed !== null && confirmed.version >= blob.version;
  }

  #confirmed(
    blob: PendingBlob,
    destination: string,
  ): Promise<{ version: number; sent: BlobSent } | null> {
    const route = routeName(this.#p.journal, destination);
    return this.#p.access.order.confirmedBlob(route, this.#p.spool.stream, blob.link);
  }

  async #addJob(blob: PendingBlob, destination: string): Promise<void> {
    const key = `${blob.link} ${blob.version} ${destination}`;
    if (this.#fed.has(key)) return;
    const job: BlobJob = {
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
    await this.#p.access.queues.addBlob(job);
    this.#fed.add(key);
  }

  async #finish(blob: PendingBlob): Promise<void> {
    const { spool, log, journal } = this.#p;
    const sent: (BlobSent | null)[] = [];
    for (const destination of this.#destinations()) {
      sent.push((await this.#confirmed(blob, destination))?.sent ?? null);
    }
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
    await unlink(path).catch(() => undefined);
    this.#p.log.warn({ journal: this.#p.journal, link }, 'a blob link led nowhere and was removed');
    return true;
  }

  /** Ends pending blobs whose file is gone, link and all. */
  async dropDangling(): Promise<void> {
    for (const blob of [...this.#p.spool.pendingBlobs()]) {
      const file = resolve(this.#p.dir, blob.text);
      const gone = await stat(file).then(
        () => false,
        (error: unknown) => systemCode(error) === 'ENOENT',
      );
      if (!gone) continue;
      await this.#isDangling(blob.link);
      await this.#p.spool.recordBlobDone(blob.link, blob.version);
      for (const destination of this.#destinations()) {
        const route = routeName(this.#p.journal, destination);
        const id = blobJobId(route, this.#p.spool.stream, blobKey(blob.link), blob.version);
        await this.#p.access.queues.blobs.remove(id).catch(() => 0);
      }
      await this.#forget(blob);
    }
  }

  /** Its link is gone and every route has it: nothing about it is kept in Redis. */
  async #forget(blob: PendingBlob): Promise<void> {
    for (const destination of this.#destinations()) {
      this.#fed.delete(`${blob.link} ${blob.version} ${destination}`);
      await this.#p.access.order.forgetBlob(routeName(this.#p.journal, destination), blob.link);
    }
  }

  /** Says once why a link cannot be sent, and leaves it where it is. */
  #isSendable(link: string, text: string): boolean {
    const problem = blobPathProblem(text);
    if (problem === null) return true;
    if (!this.#complained.has(link)) {
      this.#complained.add(link);
      this.#p.log.error({ journal: this.#p.journal, link }, `blob link not sent: ${problem}`);
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
