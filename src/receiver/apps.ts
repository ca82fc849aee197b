import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { FerryError, systemCode } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';
import type { ReceiverApp } from '../config/model.js';
import { Applier } from './apply.js';
import { BatchStore } from './batchStore.js';
import { BlobStore } from './blobStore.js';
import { makeFolder } from './dataFolder.js';
import { KeySet } from './keys.js';
import { isSafeAppName } from './names.js';

const NEWLINE = 0x0a;
const ANY = '*';

/** Everything of one app that is open. */
export interface OpenApp {
  batches: BatchStore;
  blobs: BlobStore;
}

interface Known {
  keys: KeySet;
  apply: readonly string[] | null;
}

/**
 * The apps of a receiver: who may send to which, and their folders, opened when first needed. An
 * app of `*` gets its folder only after its sender has proved a key.
 */
export class Apps {
  readonly #known: ReadonlyMap<string, Known>;
  readonly #dataDir: string;
  readonly #fs: FileSystem;
  readonly #log: Logger;
  readonly #open = new Map<string, Promise<OpenApp>>();
  readonly #appliers: Applier[] = [];

  private constructor(
    known: ReadonlyMap<string, Known>,
    dataDir: string,
    fs: FileSystem,
    log: Logger,
  ) {
    this.#known = known;
    this.#dataDir = dataDir;
    this.#fs = fs;
    this.#log = log;
  }

  /**
   * Reads the key files and opens the named apps, recovering what a crash left.
   * @throws FerryError APP_NAME_INVALID, KEY_FILE_MISSING, KEY_WITHOUT_NEWLINE, INDEX_DAMAGED
   */
  static async load(
    configured: readonly ReceiverApp[],
    dataDir: string,
    fs: FileSystem,
    log: Logger,
  ): Promise<Apps> {
    const known = new Map<string, Known>();
    for (const app of configured) {
      if (app.name !== ANY && !isSafeAppName(app.name)) throw nameInvalid(app.name);
      const keys = await Promise.all(app.keys.map((path) => readKey(path, app.name)));
      known.set(app.name, { keys: new KeySet(keys), apply: app.apply });
    }
    const apps = new Apps(known, dataDir, fs, log);
    for (const { name } of configured) if (name !== ANY) await apps.open(name);
    return apps;
  }

  /** Who may send to this app; null: there is no such app. */
  keysOf(app: string): KeySet | null {
    return isSafeAppName(app) ? (this.#find(app)?.keys ?? null) : null;
  }

  /** The app's stores; a failure is forgotten, so that the next request tries again. */
  open(app: string): Promise<OpenApp> {
    let opening = this.#open.get(app);
    if (opening === undefined) {
      opening = this.#openNow(app);
      this.#open.set(app, opening);
      opening.catch(() => this.#open.delete(app));
    }
    return opening;
  }

  /** @param killAfterMs how long a running apply command may take yet */
  async close(killAfterMs: number): Promise<void> {
    await Promise.all(this.#appliers.map((applier) => applier.stop(killAfterMs)));
    for (const opening of this.#open.values()) {
      const app = await opening.catch(() => null);
      await app?.batches.close();
      await app?.blobs.close();
    }
  }

  #find(app: string): Known | undefined {
    return this.#known.get(app) ?? this.#known.get(ANY);
  }

  async #openNow(app: string): Promise<OpenApp> {
    const folder = join(this.#dataDir, app);
    for (const name of ['batches', 'blobs', 'tmp']) await makeFolder(this.#fs, join(folder, name));
    const batches = await BatchStore.open(folder, this.#fs);
    let blobs: BlobStore | null = null;
    try {
      blobs = await BlobStore.open(folder, this.#fs);
      await this.#startApplier(app, folder, batches);
      return { batches, blobs };
    } catch (error) {
      await batches.close();
      await blobs?.close();
      throw error;
    }
  }

  async #startApplier(app: string, folder: string, batches: BatchStore): Promise<void> {
    const command = this.#find(app)?.apply ?? null;
    if (command !== null) {
      const applier = await Applier.start({
        app,
        folder,
        command,
        store: batches,
        fs: this.#fs,
        log: this.#log,
      });
      this.#appliers.push(applier);
      batches.onStored = () => applier.notify();
    }
  }
}

async function readKey(path: string, app: string): Promise<Buffer> {
  let key: Buffer;
  try {
    key = await readFile(path);
  } catch (error) {
    throw new FerryError(
      'KEY_FILE_MISSING',
      `the key file ${path} of the app ${app} cannot be read (${systemCode(error)})`,
      {
        kind: 'usage',
        hint: 'make one: head -c 30 /dev/urandom | base64 > FILE, and give senders the same',
        cause: error,
      },
    );
  }
  if (key.at(-1) !== NEWLINE) {
    throw new FerryError('KEY_WITHOUT_NEWLINE', `the key file ${path} does not end in a newline`, {
      kind: 'usage',
      hint: 'add a newline to it, here and at the senders',
    });
  }
  return key;
}

function nameInvalid(name: string): FerryError {
  return new FerryError('APP_NAME_INVALID', `${JSON.stringify(name)} cannot be an app’s name`, {
    kind: 'usage',
    hint: 'use letters, digits and . _ + - = @, not beginning with a dot, or "*"',
  });
}
