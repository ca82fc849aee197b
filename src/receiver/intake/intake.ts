import { join } from 'node:path';
import type { Logger } from 'pino';
import { crashPoint } from '../../common/crashPoints.js';
import { asError, FerryError } from '../../common/errors.js';
import type { FileSystem } from '../../common/fileSystem.js';
import { within } from '../../common/within.js';
import { makeFolder } from '../dataFolder.js';
import { SharedTask } from '../writing.js';
import { readLeftovers } from './leftovers.js';
import { recoverApp } from './recovery.js';
import { type IntakeBatch, Segment, segmentName, segmentNumber } from './segment.js';
import { Held, type Hold } from './settling.js';

/** Beside the folders of the apps; no app of this name gets in its way. */
export const INTAKE_FOLDER = 'receiver.intake';

/** Larger batches get a file of their own at once: copying them twice would cost more than a sync. */
export const SMALL_MAX_BYTES = 64 * 1024;

/** What all connections together may gather in memory. More than that goes into files of its own. */
const GATHERED_MAX_BYTES = 32 * 1024 * 1024;

/** Of one frame. More: who waits for it waits longer. */
const GROUP_MAX_BYTES = 4 * 1024 * 1024;

/** What was accepted is made durable in its place so much later, for all of it together. */
const SETTLE_AFTER_MS = 1_000;
/** Or when so much waits for it. */
const SETTLE_BYTES = 8 * 1024 * 1024;
const SETTLE_FILES = 512;
/** Beyond this, new batches wait for it: memory, open files and the time of a recovery have bounds. */
const HELD_MAX_BYTES = 4 * SETTLE_BYTES;
const HELD_MAX_FILES = 2 * SETTLE_FILES;

interface Waiting {
  batches: readonly IntakeBatch[];
  resolve: (hold: Hold) => void;
  reject: (error: Error) => void;
}

/**
 * Where what a receiver accepts becomes durable first, for all of its apps: one append and one sync
 * for all batches that wait at that moment. Only then they are put in their places, unsynced; in the
 * background that is made durable, and then the segment is removed.
 *
 *     receiver.intake/0000000001.log ...   what may not be durable anywhere else
 *
 * A clean stop leaves it empty. What is there at the start is made again where it is missing, before
 * anything else.
 */
export class Intake {
  readonly #folder: string;
  readonly #fs: FileSystem;
  readonly #log: Logger;
  readonly #settling: SharedTask;
  #nextNumber: number;
  #current: Held | null = null;
  /** Written to no more, oldest first. */
  #full: Held[] = [];
  #waiting: Waiting[] = [];
  #isRunning = false;
  #gathered = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosing = false;
  /** Commits wait until what it holds has become less. */
  #isWaiting = false;
  /**
   * A name was taken out since the folder was synced. One that comes back does no harm; but what it
   * names should not be looked for in folders that were replaced after a clean stop.
   */
  #isNameLeft = false;

  private constructor(folder: string, fs: FileSystem, log: Logger, nextNumber: number) {
    this.#folder = folder;
    this.#fs = fs;
    this.#log = log;
    this.#nextNumber = nextNumber;
    this.#settling = new SharedTask(() => this.#settleFull());
  }

  /**
   * Makes again what the intake of a killed receiver, or of one that has lost its power, holds and
   * its apps lack; then the intake is empty. No app may be open.
   * @throws FerryError INTAKE_DAMAGED, INDEX_DAMAGED
   */
  static async open(dataDir: string, fs: FileSystem, log: Logger): Promise<Intake> {
    const folder = join(dataDir, INTAKE_FOLDER);
    await makeFolder(fs, folder);
    const { names, apps } = await readLeftovers(fs, folder, 'durably');
    for (const [app, batches] of apps) {
      const made = await recoverApp(join(dataDir, app), app, batches, fs);
      log.info({ app, batches: batches.length, ...made }, 'taken over from the intake');
    }
    for (const name of names) await fs.unlink(join(folder, name));
    const last = names.reduce((most, name) => Math.max(most, segmentNumber(name) ?? 0), 0);
    const intake = new Intake(folder, fs, log, last + 1);
    intake.#isNameLeft = names.length > 0;
    return intake;
  }

  /**
   * Room in memory for a batch on its way; to be given back with `ungather`.
   * @returns false: it is too large, or others have taken what there is
   */
  gather(bytes: number): boolean {
    if (bytes > SMALL_MAX_BYTES || this.#gathered + bytes > GATHERED_MAX_BYTES) return false;
    this.#gathered += bytes;
    return true;
  }

  ungather(bytes: number): void {
    this.#gathered -= bytes;
  }

  /**
   * Makes batches durable, all or none: accepted from here on. Whoever calls puts them in their
   * places then, and says so. Several calls share a sync.
   * @throws Error of the system's, FerryError INTAKE_FULL: nothing was accepted
   */
  append(batches: readonly IntakeBatch[]): Promise<Hold> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ batches, resolve, reject });
      if (this.#isRunning) return;
      this.#isRunning = true;
      // Other apps come to this point in the same turn of the event loop.
      setImmediate(() => void this.#run());
    });
  }

  /** Makes everything that is in its place durable there, and removes what is no longer needed. */
  async settle(): Promise<void> {
    await this.#settling.run();
  }

  /** Ends it; it is empty then, unless the disk takes longer. No `append` may be under way. */
  async close(patienceMs: number): Promise<void> {
    clearTimeout(this.#timer);
    const settled = this.settle();
    await within(patienceMs, settled);
    this.#isClosing = true;
    await settled.catch(() => undefined);
    clearTimeout(this.#timer);
    const held = this.#current === null ? this.#full : [...this.#full, this.#current];
    if (held.length === 0 && this.#isNameLeft) {
      await this.#fs.syncDirectory(this.#folder).catch(() => undefined);
    }
    for (const one of held) await one.close().catch(() => undefined);
  }

  async #run(): Promise<void> {
    for (let group = this.#group(); group.length > 0; group = this.#group()) {
      try {
        await this.#makeRoom();
        const held = await this.#segment();
        await held.segment.append(group.flatMap(({ batches }) => batches));
        for (const { resolve } of group) resolve(held.hold());
        this.#settleLater();
      } catch (error) {
        for (const { reject } of group) reject(asError(error));
        await this.#dropBroken();
      }
    }
    this.#isRunning = false;
  }

  /** Who shares the next frame. */
  #group(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { batches } of this.#waiting) {
      for (const { data } of batches) bytes += data?.length ?? 0;
      if (count > 0 && bytes > GROUP_MAX_BYTES) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #segment(): Promise<Held> {
    if (this.#current !== null) return this.#current;
    const ends = Object.fromEntries(this.#full.map(({ segment }) => [segment.name, segment.end]));
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    this.#current = new Held(await Segment.create(this.#fs, this.#folder, number, { ends }));
    // Its name becomes durable with its first frame, and so does what was removed before.
    this.#isNameLeft = false;
    return this.#current;
  }

  async #dropBroken(): Promise<void> {
    if (this.#current?.segment.broken !== true) return;
    this.#retire();
    const last = this.#full.at(-1);
    if (last?.isEmpty !== true) return;
    this.#isNameLeft = true;
    await last.close().catch(() => undefined);
    // One that stays is told of by the next segment, and removed with the others.
    await last.segment.remove().then(
      () => this.#full.pop(),
      () => undefined,
    );
  }

  /** What is not settled, and what is being settled. */
  #held(): { bytes: number; files: number } {
    const all = this.#current === null ? this.#full : [...this.#full, this.#current];
    let bytes = 0;
    let files = 0;
    for (const one of all) {
      bytes += one.segment.end;
      files += one.files;
    }
    return { bytes, files };
  }

  /** Commits wait for what is being settled, or will soon. */
  get #isUrgent(): boolean {
    const { bytes, files } = this.#held();
    return this.#isWaiting || bytes > SETTLE_BYTES || files > SETTLE_FILES;
  }

  get #isHeldTooMuch(): boolean {
    const { bytes, files } = this.#held();
    return bytes > HELD_MAX_BYTES || files > HELD_MAX_FILES;
  }

  async #makeRoom(): Promise<void> {
    if (!this.#isHeldTooMuch) return;
    this.#isWaiting = true;
    try {
      await this.settle();
    } finally {
      this.#isWaiting = false;
    }
    if (!this.#isHeldTooMuch) return;
    throw new FerryError('INTAKE_FULL', 'too much waits for its place', {
      kind: 'storage',
      hint: 'check the receiver’s disk, and the rights of its folders',
    });
  }

  #settleLater(): void {
    const { segment, files } = this.#current as Held;
    if (segment.end > SETTLE_BYTES || files > SETTLE_FILES) this.#settleNow();
    else this.#timer ??= setTimeout(() => this.#settleNow(), SETTLE_AFTER_MS);
  }

  #settleNow(): void {
    this.#settling.run().catch((error: unknown) => {
      if (this.#isClosing) return;
      this.#log.error({ err: error }, 'what was accepted is not yet durable in its place');
      this.#timer ??= setTimeout(() => this.#settleNow(), SETTLE_AFTER_MS);
    });
  }

  /** What comes from now on goes into another segment. */
  #retire(): void {
    if (this.#current === null) return;
    this.#full.push(this.#current);
    this.#current = null;
  }

  async #settleFull(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#retire();
    for (const held of [...this.#full]) {
      if (!(await held.settle(() => this.#isClosing, this.#isUrgent))) continue;
      crashPoint('intake.settled');
      this.#isNameLeft = true;
      await held.segment.remove();
      crashPoint('intake.freed');
      this.#full = this.#full.filter((one) => one !== held);
      await held.close().catch(() => undefined);
    }
    // Something is not in its place: it is looked at again.
    if (this.#full.length > 0 && !this.#isClosing) {
      this.#timer ??= setTimeout(() => this.#settleNow(), SETTLE_AFTER_MS);
    }
  }
}

/** The path of a segment in a receiver's data folder. */
export function segmentPath(dataDir: string, number: number): string {
  return join(dataDir, INTAKE_FOLDER, segmentName(number));
}
