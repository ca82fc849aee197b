import { createHash, type Hash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { crashPoint } from '../common/crashPoints.js';
import type { FileSystem } from '../common/fileSystem.js';
import type { OpenFile } from '../common/openFile.js';
import { writeFully } from './writing.js';

/** Data is gathered up to this before it is written: TLS hands out 16 KiB at a time. */
const WRITE_MAX_BYTES = 512 * 1024;
const WRITE_MIN_BYTES = 16 * 1024;

/** What all connections of the process together may gather; the more there are, the less each. */
const GATHERED_MAX_BYTES = 64 * 1024 * 1024;

/** How many are being received now. */
let receiving = 0;

/** Each has two gatherings: one that is filled, one that is written. */
function writeBytes(): number {
  const share = GATHERED_MAX_BYTES / (2 * receiving);
  return Math.max(WRITE_MIN_BYTES, Math.min(WRITE_MAX_BYTES, share));
}

/** Names of parts are never used again, also not by a later process: records hold them for ever. */
const namePrefix = randomBytes(12).toString('hex');
let named = 0;

/** `<random>-1.part` and so on */
export function partName(): string {
  named += 1;
  return `${namePrefix}-${named}.part`;
}

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

/**
 * Data on its way from a connection into a temporary file, its SHA-256 computed on the way. At most
 * two gatherings are in memory: one being filled, one being written. Without a folder nothing is
 * kept: a duplicate is read to its end only to be compared.
 */
export class Incoming {
  /** Name in the temporary folder; empty when nothing is kept. */
  readonly name: string;
  readonly #fs: FileSystem;
  readonly #folder: string;
  readonly #handle: OpenFile | null;
  readonly #hash: Hash = createHash('sha256');
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #position = 0;
  #bytes = 0;
  #open = true;
  #handedOver = false;

  private constructor(fs: FileSystem, folder: string, name: string, handle: OpenFile | null) {
    this.#fs = fs;
    this.#folder = folder;
    this.name = name;
    this.#handle = handle;
    if (handle !== null) receiving += 1;
  }

  /** A new file, mode 0600, in a folder on the same file system as its final place. */
  static async create(fs: FileSystem, folder: string): Promise<Incoming> {
    const name = partName();
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    return new Incoming(fs, folder, name, await fs.open(join(folder, name), flags, 0o600));
  }

  /** Counts and hashes only. */
  static unkept(fs: FileSystem): Incoming {
    return new Incoming(fs, '', '', null);
  }

  get kept(): boolean {
    return this.#handle !== null;
  }

  get path(): string {
    return join(this.#folder, this.name);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes a buffer over; resolves when the next may come. */
  async write(data: Buffer): Promise<void> {
    this.#hash.update(data);
    this.#bytes += data.length;
    if (this.#handle === null) return;
    this.#gathered.push(data);
    this.#gatheredBytes += data.length;
    if (this.#gatheredBytes >= writeBytes()) await this.#flush();
  }

  /**
   * Everything is in the file and durable.
   * @param alongside makes the folder's entry durable; run at the same time, so that the file
   *   system can do both in one commit of its journal. Not needed where a rename follows.
   */
  async finish(
    alongside: () => Promise<void> = () => Promise.resolve(),
  ): Promise<{ sha256: string; bytes: number }> {
    if (this.#handle !== null) {
      await this.#flush();
      await this.#writing;
      crashPoint('receiver.written');
      await Promise.all([this.#handle.sync(), alongside()]);
      await this.#close();
    }
    return { sha256: this.#hash.digest('hex'), bytes: this.#bytes };
  }

  /** The file belongs to the store from here on: `discard` leaves it alone. */
  handOver(): void {
    this.#handedOver = true;
  }

  /** Closes and removes the file, if it is still there. Never throws. */
  async discard(): Promise<void> {
    await this.#writing.catch(() => undefined);
    await this.#close().catch(() => undefined);
    if (this.#handle === null || this.#handedOver) return;
    await this.#fs.unlink(this.path).catch(() => undefined);
  }

  async #flush(): Promise<void> {
    await this.#writing;
    const buffers = this.#gathered;
    const position = this.#position;
    this.#position += this.#gatheredBytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    if (this.#handle === null || buffers.length === 0) return;
    this.#writing = writeFully(this.#handle, buffers, position);
    // Its failure is told at the next flush or at the end.
    this.#writing.catch(() => undefined);
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    if (this.#handle !== null) receiving -= 1;
    await this.#handle?.close();
  }
}
