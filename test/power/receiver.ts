/**
 * A receiver's stores on a recorded disk, without a network: what would have been answered with
 * `T` is written down with its tick, and looked for in what a power cut left.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { FerryError, systemCode } from '../../src/common/errors.js';
import type { FileSystem } from '../../src/common/fileSystem.js';
import { NO_RECEIVER_METER } from '../../src/common/meter.js';
import { Apps } from '../../src/receiver/apps.js';
import { makeFolder } from '../../src/receiver/dataFolder.js';
import { type DeliveryParts, openDelivery } from '../../src/receiver/delivery.js';
import { appConfig, batchesIn, sha256 } from '../receiver/harness.js';
import type { PowerCut } from './cut.js';
import { Disk, type DiskProcess, type Forgetful } from './disk.js';

const APP = 'foo.r';
const SILENT = pino({ level: 'silent' });
const NO_LIMITS = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 1_000, connections: 8 };

/** What senders know: what they have sent, and what was confirmed at which tick. */
interface Stream {
  /** In the order of sequences, from 1. */
  sent: string[];
  confirmed: { sequence: number; tick: number }[];
}

interface Blob {
  /** By version, from 1. */
  sent: string[];
  confirmed: { version: number; tick: number }[];
}

export class ReceiverWorld {
  readonly root: string;
  readonly disk: Disk;
  readonly streams = new Map<string, Stream>();
  readonly blobs = new Map<string, Blob>();
  readonly #below: string;
  readonly #keyFile: string;
  readonly #forgets: Forgetful | undefined;

  private constructor(below: string, root: string, forgets?: Forgetful) {
    this.#below = below;
    this.root = root;
    this.#forgets = forgets;
    this.disk = new Disk(root, forgets);
    this.#keyFile = join(below, 'key');
    writeFileSync(this.#keyFile, 'key\n');
  }

  static fresh(below: string, forgets?: Forgetful): ReceiverWorld {
    return new ReceiverWorld(below, mkdtempSync(join(below, 'disk-')), forgets);
  }

  get dataDir(): string {
    return join(this.root, 'srv/received');
  }

  get folder(): string {
    return join(this.dataDir, APP);
  }

  get keyFile(): string {
    return this.#keyFile;
  }

  stream(name: string): Stream {
    const stream = this.streams.get(name) ?? { sent: [], confirmed: [] };
    this.streams.set(name, stream);
    return stream;
  }

  blob(path: string): Blob {
    const blob = this.blobs.get(path) ?? { sent: [], confirmed: [] };
    this.blobs.set(path, blob);
    return blob;
  }

  /** The disk after the cut; the senders know what they were answered, and nothing else. */
  afterCut(cut: PowerCut, tick: number): ReceiverWorld {
    const root = mkdtempSync(join(this.#below, 'cut-'));
    cut.restore(root);
    const later = new ReceiverWorld(this.#below, root, this.#forgets);
    const known = <T extends { tick: number }>(confirmed: T[]): T[] =>
      confirmed.filter((one) => one.tick <= tick).map((one) => ({ ...one, tick: 0 }));
    for (const [name, { sent, confirmed }] of this.streams) {
      later.streams.set(name, { sent: [...sent], confirmed: known(confirmed) });
    }
    for (const [path, { sent, confirmed }] of this.blobs) {
      later.blobs.set(path, { sent: [...sent], confirmed: known(confirmed) });
    }
    return later;
  }

  remove(): void {
    rmSync(this.root, { recursive: true });
  }
}

/** A receiver process, and the senders that talk to it. */
export class ReceiverProcess {
  readonly world: ReceiverWorld;
  readonly process: DiskProcess;
  /** A delivery that an error of the disk ends is passed over: its sender is told 503. */
  tolerant = false;
  /** Deliveries that were passed over. */
  failed = 0;
  /** An index said that it takes nothing until a restart. */
  broken = false;
  /** The app that is configured, and that batches are sent to. */
  app = APP;
  readonly #fileSystem: FileSystem;
  #apps: Apps | null = null;

  constructor(
    world: ReceiverWorld,
    killAt?: number | string,
    around: (process: DiskProcess) => FileSystem = (process) => process,
  ) {
    this.world = world;
    this.process = world.disk.process(killAt);
    this.#fileSystem = around(this.process);
  }

  /** Runs the steps, or as many as it lives for. */
  async live(
    steps: (receiver: ReceiverProcess) => Promise<void>,
    onNoStart?: () => void,
  ): Promise<'ended' | 'killed'> {
    try {
      await this.#start().catch((error: unknown) => {
        if (!this.tolerant || !isStorageError(error)) throw error;
        // Its service manager starts it again.
        onNoStart?.();
        return this.#start();
      });
      await steps(this);
      return this.process.dead ? 'killed' : 'ended';
    } catch (error) {
      if (!this.process.dead) throw error;
      return 'killed';
    } finally {
      this.process.kill();
      await this.#apps?.close(0).catch(() => undefined);
    }
  }

  async #start(): Promise<void> {
    const { dataDir, keyFile } = this.world;
    const apps = [appConfig(this.app, [keyFile])];
    await makeFolder(this.#fileSystem, dataDir);
    this.#apps = await Apps.load(apps, {
      dataDir,
      fs: this.#fileSystem,
      meter: NO_RECEIVER_METER,
      log: SILENT,
    });
  }

  /** What was accepted becomes durable in its place, as it does by itself a second later. */
  async settle(): Promise<void> {
    await this.#apps?.settle().catch((error: unknown) => {
      if (this.process.dead) return;
      if (!this.tolerant || !isStorageError(error)) throw error;
    });
  }

  /** The next batch of a stream, or an old one again. */
  async batch(name: string, bytes: number, sequence?: number): Promise<void> {
    const stream = this.world.stream(name);
    const last = stream.confirmed.at(-1)?.sequence ?? 0;
    const number = sequence ?? last + 1;
    stream.sent[number - 1] ??= `${name} ${number} `.padEnd(bytes, `${name}${number}.`);
    const data = stream.sent[number - 1] ?? '';
    const confirmed = await this.#deliver(
      { kind: 'batch', bytes: data.length },
      { kind: 'batch', stream: sha256(name).slice(0, 32), sequence: number, previous: number - 1 },
      data,
    );
    if (confirmed && number > last) {
      stream.confirmed.push({ sequence: number, tick: this.world.disk.now });
    }
  }

  /** A batch that nobody looks for afterwards. */
  async unknown(bytes: number): Promise<void> {
    await this.#deliver({ kind: 'batch', bytes }, null, 'u'.repeat(bytes));
  }

  /** The next version of a blob, or an old one again. */
  async blob(path: string, bytes: number, version?: number): Promise<void> {
    const blob = this.world.blob(path);
    const last = blob.confirmed.at(-1)?.version ?? 0;
    const number = version ?? last + 1;
    blob.sent[number - 1] ??= `${path} ${number} `.padEnd(bytes, `${path}${number}.`);
    const data = blob.sent[number - 1] ?? '';
    const confirmed = await this.#deliver(
      { kind: 'blob', path, bytes: data.length },
      { kind: 'blob', stream: sha256('blobs').slice(0, 32), version: number },
      data,
    );
    if (confirmed && number > last) {
      blob.confirmed.push({ version: number, tick: this.world.disk.now });
    }
  }

  /** Whether `T` was answered: not by a process that has died in between. */
  async #deliver(
    body: Parameters<typeof openDelivery>[2],
    identity: Parameters<typeof openDelivery>[1]['identity'],
    data: string,
  ): Promise<boolean> {
    const parts = { apps: this.#apps, limits: NO_LIMITS } as DeliveryParts;
    const head = { app: this.app, identity, sha256: sha256(data), uploadBytes: null };
    try {
      const opened = await openDelivery(parts, head, body, new AbortController());
      assert.ok('delivery' in opened, `refused: ${JSON.stringify(opened)}`);
      const { delivery } = opened;
      try {
        await delivery.write(Buffer.from(data));
        assert.equal(await delivery.commit(), null, 'refused');
        return !this.process.dead;
      } finally {
        await delivery.discard();
      }
    } catch (error) {
      if (this.process.dead) return false;
      if (!this.tolerant || !isStorageError(error)) throw error;
      this.failed += 1;
      this.broken ||= error instanceof FerryError && error.code === 'INDEX_BROKEN';
      return false;
    }
  }
}

/** What a receiver may report of a faulty disk; anything else is a mistake of ours. */
function isStorageError(error: unknown): boolean {
  if (!(error instanceof FerryError)) return systemCode(error) !== undefined;
  return error.kind === 'storage' && !error.message.includes('(bug)');
}

/** More than what is gathered in memory. */
export const LARGE_BYTES = 70_000;

/** A life of batches and blobs, several at a time. */
export async function receiverSteps(receiver: ReceiverProcess): Promise<void> {
  for (const bytes of [100, 9000, 40, 5000]) {
    await Promise.all([
      receiver.batch('one', bytes),
      receiver.batch('two', bytes === 9000 ? LARGE_BYTES : bytes),
      receiver.blob('a/b/x', bytes),
      receiver.blob(`a/${bytes}/y`, bytes),
      receiver.blob(`a/${bytes}/z`, bytes),
    ]);
    await Promise.all([
      receiver.batch('one', bytes === 5000 ? LARGE_BYTES : bytes),
      bytes === 40 ? receiver.settle() : undefined,
    ]);
    if (bytes === 100) await receiver.settle();
  }
}

/** The senders of a receiver that was killed in its first commit come again, and nothing new. */
export async function receiverRepeats(receiver: ReceiverProcess): Promise<void> {
  await receiver.batch('one', 100, 1);
}

/** The second version of a blob; the first one is late, or comes never. */
export async function receiverVersion(receiver: ReceiverProcess): Promise<void> {
  await receiver.blob('x', 100, 2);
}

/** A receiver of another app takes over what the one before has left, and goes on for itself. */
export async function otherApp(world: ReceiverWorld): Promise<void> {
  const receiver = new ReceiverProcess(world);
  receiver.app = 'other.r';
  await receiver.live(async () => {
    await receiver.unknown(100);
  });
}

/** Starts a receiver on what is there: everything confirmed is there, and it goes on rightly. */
export async function recoverAndCheckReceiver(world: ReceiverWorld): Promise<void> {
  const receiver = new ReceiverProcess(world);
  const end = await receiver.live(async () => {
    checkBatches(world);
    checkBlobs(world);
    assert.deepEqual(readdirSync(join(world.folder, 'tmp')), []);
    // Senders go on where they believe to be: that is a repeat, or the next one.
    for (const [name, { sent, confirmed }] of world.streams) {
      const from = confirmed.at(-1)?.sequence ?? 0;
      const until = sent.length + 1;
      for (let n = Math.max(1, from); n <= until; n += 1) {
        await receiver.batch(name, 50, n);
      }
    }
    for (const [path, { confirmed }] of world.blobs) {
      const last = confirmed.at(-1)?.version ?? 0;
      // An old one that comes late must not take the place of a newer one.
      if (last > 1) await receiver.blob(path, 50, last - 1);
      checkBlobs(world);
      await receiver.blob(path, 50, last + 1);
    }
    checkBatches(world);
    checkBlobs(world);
    for (const [name, { sent }] of world.streams) {
      assert.equal(held(world, name).length, sent.length, `all of ${name} is stored, once`);
    }
  });
  assert.equal(end, 'ended');
}

function held(world: ReceiverWorld, name: string): string[] {
  return batchesIn(world.folder).filter((data) => data.startsWith(`${name} `));
}

/** Dense and in order; everything confirmed; nothing that was never sent. */
function checkBatches(world: ReceiverWorld): void {
  const all = batchesIn(world.folder);
  let known = 0;
  for (const [name, { sent, confirmed }] of world.streams) {
    const own = held(world, name);
    known += own.length;
    assert.deepEqual(own, sent.slice(0, own.length), `${name} in order, without doubles`);
    const last = confirmed.at(-1)?.sequence ?? 0;
    assert.ok(own.length >= last, `lost: ${name} has ${own.length} of ${last} confirmed`);
  }
  assert.equal(all.length, known, 'a batch that nobody sent');
}

function checkBlobs(world: ReceiverWorld): void {
  for (const [path, { sent, confirmed }] of world.blobs) {
    const last = confirmed.at(-1)?.version ?? 0;
    let content: string | null = null;
    try {
      content = readFileSync(join(world.folder, 'blobs', path), 'latin1');
    } catch {
      assert.equal(last, 0, `lost: the blob ${path}, version ${last}`);
    }
    if (content === null) continue;
    const version = sent.indexOf(content) + 1;
    assert.ok(version > 0, `${path} holds what nobody sent: ${content.length} bytes`);
    assert.ok(version >= last, `lost: ${path} is at version ${version}, confirmed was ${last}`);
  }
}
