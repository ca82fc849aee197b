import { promises as nodeFs } from 'node:fs';
import { dirname, join } from 'node:path';
import { crashPoint } from '../common/crashPoints.js';
import { FerryError, systemCode } from '../common/errors.js';
import { type FileSystem, nodeFileSystem } from '../common/fileSystem.js';
import { storeFailed } from './batchStore.js';
import { decideBlob } from './identity.js';
import { Incoming } from './incoming.js';
import { blobPathTrouble } from './names.js';
import { RecordLog } from './recordLog.js';
import { SharedTask } from './writing.js';

/** The last version of a blob that a stream has brought, as it stands in `blobs.log`. */
interface BlobRecord {
  stream: string;
  path: string;
  version: number;
}

export interface BlobClaim {
  stream: string;
  version: number;
}

export type BlobVerdict = 'stored' | 'duplicate' | 'corrupted';

/** The log is rewritten at start when it holds so many times more records than blobs. */
const COMPACT_FACTOR = 4;
const COMPACT_MIN_RECORDS = 10_000;

/**
 * The blobs of one app, under `blobs/`; what is in them is what came last.
 *
 * part written and synced -> renamed, folder synced -> version in `blobs.log` synced. A crash before
 * the last step leaves the new content under the old version: the sender, not having been acked,
 * sends the same again. An older version that comes late is acked and not stored.
 */
export class BlobStore {
  readonly #fs: FileSystem;
  readonly #root: string;
  readonly #tmp: string;
  readonly #versions = new Map<string, number>();
  /** By path: who is replacing it right now. */
  readonly #busy = new Map<string, Promise<void>>();
  /** Folders whose name is durable or becomes so; one that failed is tried again. */
  readonly #folders = new Map<string, Promise<void>>();
  readonly #flush: SharedTask;
  #log!: RecordLog<BlobRecord>;
  #pending: BlobRecord[] = [];

  private constructor(folder: string, fs: FileSystem) {
    this.#fs = fs;
    this.#root = join(folder, 'blobs');
    this.#tmp = join(folder, 'tmp');
    this.#flush = new SharedTask(async () => {
      const records = this.#pending;
      this.#pending = [];
      if (records.length === 0) return;
      await this.#log.write(records);
      for (const { stream, path, version } of records) {
        this.#versions.set(versionKey(stream, path), version);
      }
    });
  }

  /**
   * @param folder the app's folder; `blobs` and `tmp` exist
   * @throws FerryError INDEX_DAMAGED
   */
  static async open(folder: string, fs: FileSystem = nodeFileSystem): Promise<BlobStore> {
    const store = new BlobStore(folder, fs);
    const path = join(folder, 'blobs.log');
    let records = 0;
    const note = ({ stream, path: blob, version }: BlobRecord) => {
      records += 1;
      store.#versions.set(versionKey(stream, blob), version);
    };
    store.#log = await RecordLog.open<BlobRecord>(path, fs, note);
    if (records > COMPACT_MIN_RECORDS && records > COMPACT_FACTOR * store.#versions.size) {
      await store.#compact(path);
    }
    return store;
  }

  begin(): Promise<Incoming> {
    return Incoming.create(this.#fs, this.#tmp);
  }

  beginUnkept(): Incoming {
    return Incoming.unkept(this.#fs);
  }

  /** Whether this version would be stored as things are. */
  foresee(path: string, claim: BlobClaim): 'store' | 'duplicate' {
    return decideBlob(claim.version, this.#versions.get(versionKey(claim.stream, path)) ?? 0);
  }

  /**
   * Makes a received blob durable in its place.
   * @param digest the sender's SHA-256, null when it says none
   * @throws FerryError STORE_FAILED, BLOB_PATH_REFUSED
   */
  async commit(
    incoming: Incoming,
    path: string,
    claim: BlobClaim | null,
    digest: string | null,
  ): Promise<BlobVerdict> {
    try {
      const { sha256 } = await incoming.finish();
      if (digest !== null && digest !== sha256) return 'corrupted';
      crashPoint('receiver.synced');
      return await this.#alone(path, async () => {
        if (claim !== null && this.foresee(path, claim) === 'duplicate') return 'duplicate';
        await this.#place(incoming, path);
        crashPoint('receiver.renamed');
        if (claim !== null) {
          this.#pending.push({ stream: claim.stream, path, version: claim.version });
          await this.#flush.run();
        }
        crashPoint('receiver.committed');
        return 'stored';
      });
    } catch (error) {
      throw storeFailed(error);
    } finally {
      await incoming.discard();
    }
  }

  async close(): Promise<void> {
    await this.#flush.run().catch(() => undefined);
    await this.#log.close();
  }

  async #place(incoming: Incoming, path: string): Promise<void> {
    if (blobPathTrouble(path) !== null) throw refused(path);
    const target = join(this.#root, path);
    await this.#makeFolders(path);
    try {
      // rename(2) replaces a link of that name, it does not follow it.
      await this.#fs.rename(incoming.path, target);
    } catch (error) {
      if (['EISDIR', 'ENOTEMPTY', 'ENOTDIR', 'EEXIST'].includes(systemCode(error) ?? '')) {
        throw refused(path, error);
      }
      throw error;
    }
    incoming.handOver();
    await this.#fs.syncDirectory(dirname(target));
  }

  /** Each folder on the way must be a real one: a link could lead out of the blob folder. */
  async #makeFolders(path: string): Promise<void> {
    let folder = this.#root;
    for (const part of path.split('/').slice(0, -1)) {
      const parent = folder;
      folder = join(folder, part);
      const stat = await nodeFs.lstat(folder).catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') return null;
        throw error;
      });
      if (stat === null) {
        await this.#fs.mkdir(folder, { recursive: true, mode: 0o700 });
        this.#folders.delete(folder);
        crashPoint('receiver.folderMade');
      } else if (!stat.isDirectory()) {
        throw refused(path);
      }
      await this.#makeDurable(folder, parent);
    }
  }

  /**
   * A folder that is there may be another blob's, whose sync is still under way, or that of a
   * receiver that was killed before its sync: once per process it is made sure.
   */
  #makeDurable(folder: string, parent: string): Promise<void> {
    let durable = this.#folders.get(folder);
    if (durable === undefined) {
      durable = this.#fs.syncDirectory(parent);
      this.#folders.set(folder, durable);
      durable.catch(() => this.#folders.delete(folder));
    }
    return durable;
  }

  async #alone<T>(path: string, work: () => Promise<T>): Promise<T> {
    const before = this.#busy.get(path) ?? Promise.resolve();
    const mine = before.then(work);
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#busy.set(path, settled);
    try {
      return await mine;
    } finally {
      if (this.#busy.get(path) === settled) this.#busy.delete(path);
    }
  }

  async #compact(path: string): Promise<void> {
    const fresh = join(this.#tmp, 'blobs.log.new');
    await this.#fs.unlink(fresh).catch(() => undefined);
    const log = await RecordLog.open<BlobRecord>(fresh, this.#fs, () => undefined);
    const records: BlobRecord[] = [];
    for (const [key, version] of this.#versions) {
      const at = key.indexOf(' ');
      records.push({ stream: key.slice(0, at), path: key.slice(at + 1), version });
    }
    await log.write(records);
    await this.#log.close();
    await this.#fs.rename(fresh, path);
    await this.#fs.syncDirectory(dirname(path));
    this.#log = log;
  }
}

function versionKey(stream: string, path: string): string {
  return `${stream} ${path}`;
}

function refused(path: string, cause?: unknown): FerryError {
  return new FerryError('BLOB_PATH_REFUSED', 'a blob path would leave or replace a folder', {
    kind: 'storage',
    hint: 'look at what stands in the receiver’s blob folder under that path',
    retry: false,
    context: { path },
    ...(cause === undefined ? {} : { cause }),
  });
}
