import { randomBytes } from 'node:crypto';
import {
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import type { Random } from './random.js';
import { record } from './records.js';

const PAUSE_MIN_MS = 20;
const PAUSE_MAX_MS = 220;
/** Now and then a database commits many times in a row. */
const BURST_SHARE = 0.02;
const BURST_COMMITS = 25;
const LOCK_AGAIN_MS = 2;

/** Commits between two blobs, and how many files there are to change again. */
const BLOB_EVERY = 60;
const BLOB_FILES = 5;
const BLOB_MAX_BYTES = 300_000;

/** Whatever writes into a journal until it is told to stop. */
export interface Source {
  /** Resolves when the commit under way is done. */
  stop(): Promise<void>;
}

/** Commits numbered records to a journal under its lock, as a database does, on one open file. */
export class RecordWriter implements Source {
  readonly journal: string;
  /** Complete records in the journal. */
  records = 0;
  bytes = 0;
  /** Path below the blob directory -> what its file holds. */
  readonly blobs = new Map<string, Buffer>();
  readonly #fd: number;
  readonly #blobDir: string | null;
  readonly #random: Random;
  #stopping = false;
  readonly #over: Promise<void>;

  constructor(options: { journal: string; path: string; blobDir: string | null; random: Random }) {
    this.journal = options.journal;
    this.#blobDir = options.blobDir;
    this.#random = options.random;
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;
    this.#fd = openSync(options.path, flags, 0o600);
    if (options.blobDir !== null) mkdirSync(join(options.blobDir, 'files'), { recursive: true });
    this.#over = this.#run();
  }

  /** Bytes that nobody has captured yet. */
  get waiting(): number {
    return fstatSync(this.#fd).size;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#over;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const commits = this.#random.chance(BURST_SHARE) ? BURST_COMMITS : 1;
      for (let i = 0; i < commits && !this.#stopping; i += 1) await this.#commit();
      await sleep(this.#random.between(PAUSE_MIN_MS, PAUSE_MAX_MS));
    }
  }

  async #commit(): Promise<void> {
    const bytes = record(this.journal, this.records + 1);
    while (!tryLock(this.#fd)) {
      if (this.#stopping) return;
      await sleep(LOCK_AGAIN_MS);
    }
    let done = 0;
    while (done < bytes.length) done += writeSync(this.#fd, bytes, done, bytes.length - done);
    unlock(this.#fd);
    this.records += 1;
    this.bytes += bytes.length;
    if (this.records % BLOB_EVERY === 0) this.#announceBlob();
  }

  /** A new blob, or a new content of one that may be under way. */
  #announceBlob(): void {
    if (this.#blobDir === null) return;
    const number = this.#random.integer(1, BLOB_FILES);
    const path = `files/${number}`;
    const content = randomBytes(this.#random.integer(0, BLOB_MAX_BYTES));
    writeFileSync(join(this.#blobDir, path), content);
    this.blobs.set(path, content);
    try {
      symlinkSync(path, join(this.#blobDir, `=${number}.blob`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // still announced
    }
  }
}
