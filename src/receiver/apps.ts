import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { FerryError, systemCode } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';
import type { ReceiverMeter } from '../common/meter.js';
import type { ReceiverApp } from '../config/model.js';
import { AppLimits } from './appLimits.js';
import { Applier } from './apply.js';
import { BatchStore } from './batchStore.js';
import { BlobStore } from './blobStore.js';
import { makeFolder } from './dataFolder.js';
import { Intake } from './intake/intake.js';
import { KeySet } from './keys.js';
import { isSafeAppName } from './names.js';
import { StoredBytes } from './storedBytes.js';
import { StreamMemory } from './streams.js';

/** How long a stop waits until the intake is empty. What is in it then, the next start takes over. */
const EMPTY_INTAKE_MS = 2_000;

const NEWLINE = 0x0a;
const ANY = '*';

/** Everything of one app that is open. */
export interface OpenApp {
  batches: BatchStore;
  blobs: BlobStore;
  limits: AppLimits;
  /** Where `T` waits for the apply command; null: it does not. */
  ackWhenApplied: Applier | null;
}

/** How an app stands: the last batch that is stored, and the last that is applied. */
export interface AppState {
  app: string;
  stored: number;
  /** Null: there is no apply command. */
  applied: number | null;
}

interface Known {
  keys: KeySet;
  config: ReceiverApp;
}

export interface AppsParts {
  dataDir: string;
  fs: FileSystem;
  meter: ReceiverMeter;
  log: Logger;
}

/**
 * The apps of a receiver: who may send to which, and their folders, opened when first needed. An
 * app of `*` gets its folder only after its sender has proved a key.
 */
export class Apps {
  #known: ReadonlyMap<string, Known>;
  readonly #parts: AppsParts;
  readonly #intake: Intake;
  readonly #memory = new StreamMemory();
  readonly #open = new Map<string, Promise<OpenApp>>();
  readonly #appliers = new Map<string, Applier>();
  readonly #stores = new Map<string, BatchStore>();

  private constructor(known: ReadonlyMap<string, Known>, parts: AppsParts, intake: Intake) {
    this.#known = known;
    this.#parts = parts;
    this.#intake = intake;
  }

  /**
   * Reads the key files and opens the named apps, recovering what a crash left.
   * @throws FerryError APP_NAME_INVALID, KEY_FILE_MISSING, KEY_WITHOUT_NEWLINE, INDEX_DAMAGED,
   *   INTAKE_DAMAGED
   */
  static async load(configured: readonly ReceiverApp[], parts: AppsParts): Promise<Apps> {
    const known = await readKeys(configured);
    const intake = await Intake.open(parts.dataDir, parts.fs, parts.log);
    const apps = new Apps(known, parts, intake);
    try {
      for (const { name } of configured) if (name !== ANY) await apps.open(name);
      return apps;
    } catch (error) {
      await apps.close(0);
      throw error;
    }
  }

  /** Makes durable in its place what was accepted: it happens by itself, a second later. */
  settle(): Promise<void> {
    return this.#intake.settle();
  }

  /**
   * Reads the key files again, for requests from now on.
   * @throws FerryError KEY_FILE_MISSING, KEY_WITHOUT_NEWLINE: the keys are as they were
   */
  async reloadKeys(): Promise<void> {
    this.#known = await readKeys([...this.#known.values()].map(({ config }) => config));
  }

  /** Of the apps that are open. */
  *states(): Iterable<AppState> {
    for (const [app, store] of this.#stores) {
      const applied = this.#appliers.get(app)?.applied ?? null;
      yield { app, stored: store.lastNumber, applied };
    }
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
    await Promise.all([...this.#appliers.values()].map((applier) => applier.stop(killAfterMs)));
    const opened = await Promise.all(
      [...this.#open.values()].map((opening) => opening.catch(() => null)),
    );
    for (const app of opened) await app?.batches.drain();
    await this.#intake.close(EMPTY_INTAKE_MS);
    for (const app of opened) {
      await app?.batches.close();
      await app?.blobs.close();
    }
  }

  #find(app: string): Known | undefined {
    return this.#known.get(app) ?? this.#known.get(ANY);
  }

  async #openNow(app: string): Promise<OpenApp> {
    const config = this.#find(app)?.config;
    if (config === undefined) throw new Error(`the app ${app} is not configured`);
    const { fs } = this.#parts;
    const folder = join(this.#parts.dataDir, app);
    for (const name of ['batches', 'blobs', 'tmp']) await makeFolder(fs, join(folder, name));
    const batches = await BatchStore.open({
      app,
      folder,
      fs,
      intake: this.#intake,
      memory: this.#memory,
    });
    let blobs: BlobStore | null = null;
    try {
      blobs = await BlobStore.open(folder, fs);
      const limits = await openLimits(config.limits, folder);
      const applier = await this.#startApplier(app, folder, config, batches);
      this.#stores.set(app, batches);
      return { batches, blobs, limits, ackWhenApplied: config.ack === 'applied' ? applier : null };
    } catch (error) {
      await batches.close();
      await blobs?.close();
      throw error;
    }
  }

  async #startApplier(
    app: string,
    folder: string,
    config: ReceiverApp,
    store: BatchStore,
  ): Promise<Applier | null> {
    if (config.apply === null) return null;
    const { fs, meter, log } = this.#parts;
    const applier = await Applier.start({
      app,
      folder,
      command: config.apply,
      store,
      fs,
      meter,
      log,
    });
    this.#appliers.set(app, applier);
    store.onStored = () => applier.notify();
    return applier;
  }
}

async function openLimits(limits: ReceiverApp['limits'], folder: string): Promise<AppLimits> {
  const { storedBytes } = limits;
  if (storedBytes === null) return new AppLimits(limits, null);
  const folders = ['batches', 'blobs'].map((name) => join(folder, name));
  return new AppLimits(limits, await StoredBytes.measure(storedBytes, folders));
}

async function readKeys(configured: readonly ReceiverApp[]): Promise<Map<string, Known>> {
  const known = new Map<string, Known>();
  for (const config of configured) {
    const { name } = config;
    if (name !== ANY && !isSafeAppName(name)) throw nameInvalid(name);
    const keys = await Promise.all(config.keys.map((path) => readKey(path, name)));
    known.set(name, { keys: new KeySet(keys), config });
  }
  return known;
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
