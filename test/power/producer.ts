/**
 * A producer on a recorded disk: journal, spool, captures. What it promised on the way is
 * written down with the tick of the promise; `afterCut` lets real recovery run on what a power cut
 * left, and compares the whole stream with what was written.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FerryError, systemCode } from '../../src/common/errors.js';
import type { FileSystem } from '../../src/common/fileSystem.js';
import { JournalCapture } from '../../src/producers/capture/capture.js';
import { sealsDirIn } from '../../src/producers/spool/sealCopies.js';
import { SealLog } from '../../src/producers/spool/sealLog.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { payloadOf } from '../spool/helpers.js';
import type { PowerCut } from './cut.js';
import { Disk, type DiskProcess, type Forgetful, Killed } from './disk.js';

export const ROUTE = 'r';

/** Something that no power cut after `tick` may take back. */
interface Promised {
  tick: number;
  what: string;
  holds(spool: Spool): boolean;
}

export interface ProducerOptions {
  trimAboveBytes?: number | null;
  /** Small seals are made durable in a log that is shared with other spools; files of this size. */
  sealsFileBytes?: number;
  forgets?: Forgetful;
}

/** One disk from one power cut to the next, and what was written into its journal. */
export class ProducerWorld {
  readonly root: string;
  readonly disk: Disk;
  readonly options: ProducerOptions;
  readonly promises: Promised[] = [];
  /** Everything in the order of the writer: what is captured, then what is in the journal. */
  written: Buffer;
  /** Where in `written` the journal's first byte belongs, before and after each truncation. */
  readonly #begins: number[];
  readonly #below: string;
  /** The journal may have come with a hole. */
  #holeBelow = 0;
  #boot: number;

  private constructor(
    below: string,
    root: string,
    options: ProducerOptions,
    written: Buffer,
    begin: number,
    boot: number,
  ) {
    this.#below = below;
    this.root = root;
    this.options = options;
    this.written = written;
    this.#begins = [begin];
    this.#boot = boot;
    this.recovered = boot === 1;
    this.disk = new Disk(root, options.forgets);
  }

  static fresh(below: string, options: ProducerOptions = {}): ProducerWorld {
    const root = mkdtempSync(join(below, 'disk-'));
    mkdirSync(join(root, 'fifo'));
    writeFileSync(join(root, 'fifo/journal'), '');
    return new ProducerWorld(below, root, options, Buffer.alloc(0), 0, 1);
  }

  get journal(): string {
    return join(this.root, 'fifo/journal');
  }

  get spoolDir(): string {
    return join(this.root, 'state/spool/foo');
  }

  get bootId(): string {
    return `boot-${this.#boot}`;
  }

  promise(what: string, holds: Promised['holds']): void {
    this.promises.push({ tick: this.disk.now, what, holds });
  }

  /** The writer commits: every byte tells its place, and none is zero. */
  async append(bytes: number): Promise<void> {
    const data = Buffer.alloc(bytes);
    const from = this.written.length;
    for (let at = 0; at < bytes; at += STAMP_BYTES) {
      data.write(
        String(from + at)
          .padStart(STAMP_BYTES - 1, '.')
          .concat('\n'),
        at,
        'latin1',
      );
    }
    this.written = Buffer.concat([this.written, data]);
    await this.disk.append(this.journal, data);
  }

  readonly #seen = new Set<number>();

  /** To be called after each step: a truncation that came with it emptied all that was written. */
  noteTruncations(): void {
    const journal = this.disk.fileAt(this.journal);
    for (const one of this.disk.log) {
      if (one.is !== 'truncate' || one.file !== journal || this.#seen.has(one.begin)) continue;
      this.#seen.add(one.begin);
      this.#begins.push(this.written.length);
    }
  }

  /** Bytes of the journal that were given back before the cut: they are in a copy. */
  #punchedBelow(tick: number, shrunk: number): number {
    const journal = this.disk.fileAt(this.journal);
    let truncations = 0;
    let below = shrunk === 0 ? this.#holeBelow : 0;
    for (const one of this.disk.log) {
      if (one.begin > tick || !('file' in one) || one.file !== journal) continue;
      if (one.is === 'truncate') truncations += 1;
      if (one.is === 'punch' && truncations === shrunk) {
        below = Math.max(below, one.offset + one.length);
      }
    }
    return below;
  }

  /**
   * The disk after the cut as a world of its own, checked as far as it can be before a recovery.
   * Its `written` is what a recovery has to come to.
   */
  async afterCut(cut: PowerCut, tick: number): Promise<ProducerWorld> {
    this.noteTruncations();
    const root = join(this.#below, `cut-${uniqueNumber()}`);
    cut.restore(root);
    const { content, shrunk } = cut.file(this.disk.fileAt(this.journal));
    const begin = this.#begins[shrunk] ?? Number.NaN;

    const captured = await this.#capturedIn(root);
    assert.ok(captured <= this.written.length, 'more is captured than was written');
    assert.ok(begin <= captured, `lost: the journal begins at ${begin}, the spool has ${captured}`);

    const rest = Buffer.from(content.subarray(Math.max(0, captured - begin)));
    const hole = this.#punchedBelow(tick, shrunk);
    const punched = hole - (captured - begin);
    if (punched > 0) this.written.subarray(captured, captured + punched).copy(rest);
    const world = new ProducerWorld(
      this.#below,
      root,
      this.options,
      Buffer.concat([this.written.subarray(0, captured), rest]),
      // Nothing is left of what was captured, and so nobody truncates: the next byte is a new one.
      content.length === 0 ? captured : begin,
      this.#boot + 1,
    );
    world.#holeBelow = hole;
    for (const one of this.promises) if (one.tick <= tick) world.promises.push({ ...one, tick: 0 });
    // All that captured bytes left of themselves are zeros, and something stands behind them:
    // whose zeros these are cannot be known, and what may be new content is shipped.
    const before = content.subarray(0, Math.max(0, captured - begin));
    if (rest.length > 0 && before.length > 0 && before.every((byte) => byte === 0)) {
      world.orElse = Buffer.concat([this.written.subarray(0, captured), content]);
    }
    // Zeros alone are the size of something that the cut took; whose, cannot be known.
    if (rest.length > 0 && content.every((byte) => byte === 0)) {
      world.orElse = this.written.subarray(0, captured);
    }
    return world;
  }

  /** What a producer finds captured there; its look changes nothing. */
  async #capturedIn(root: string): Promise<number> {
    if ((await Spool.readOnly(join(root, 'state/spool/foo'))) === undefined) return 0;
    const copy = join(this.#below, `look-${uniqueNumber()}`);
    cpSync(join(root, 'state'), copy, { recursive: true });
    const bootId = `boot-${this.#boot + 1}`;
    const spool = await Spool.open(join(copy, 'spool/foo'), { journal: 'foo', bootId });
    const { capturedBytes } = spool;
    await spool.close();
    rmSync(copy, { recursive: true });
    return capturedBytes;
  }

  /** What may have been written as well, in a case that cannot be told; else null. */
  orElse: Buffer | null = null;
  /** A recovery has come to its end since the power cut. */
  recovered: boolean;

  remove(): void {
    rmSync(this.root, { recursive: true });
  }
}

const STAMP_BYTES = 9;
let numbers = 0;
function uniqueNumber(): number {
  numbers += 1;
  return numbers;
}

/** A producer process. Every step throws `Killed` when it has died in it. */
export class Producer {
  readonly world: ProducerWorld;
  readonly process: DiskProcess;
  spool!: Spool;
  capture!: JournalCapture;
  readonly seals: SealLog | null;
  /** A step that an error of the disk ends is passed over, as the pipeline does until its next try. */
  tolerant = false;
  readonly #fileSystem: FileSystem;

  constructor(
    world: ProducerWorld,
    killAt?: number | string,
    around: (process: DiskProcess) => FileSystem = (process) => process,
  ) {
    this.world = world;
    this.process = world.disk.process(killAt);
    const fileSystem = around(this.process);
    this.#fileSystem = fileSystem;
    const { bootId, root, options } = world;
    const { sealsFileBytes: fileBytes } = options;
    this.seals =
      fileBytes === undefined
        ? null
        : new SealLog(sealsDirIn(join(root, 'state')), {
            bootId,
            fileSystem,
            shareFrom: 1,
            fileBytes,
          });
  }

  /** Runs the steps, or as many as it lives for; nothing of it is left open. */
  async live(
    steps: (producer: Producer) => Promise<void>,
    onNoStart?: () => void,
  ): Promise<'ended' | 'killed'> {
    try {
      await this.#start(onNoStart);
      await steps(this);
      await this.#step(() => this.capture.close());
      await this.#step(() => this.spool.close());
      await this.#step(async () => this.seals?.close());
      return 'ended';
    } catch (error) {
      if (!this.process.dead) throw error;
      return 'killed';
    } finally {
      this.process.kill();
      await this.capture?.close().catch(() => undefined);
      await this.spool?.close().catch(() => undefined);
      await this.seals?.close().catch(() => undefined);
      this.world.noteTruncations();
    }
  }

  async #start(onNoStart: () => void = () => undefined): Promise<void> {
    const { world } = this;
    const fileSystem = this.#fileSystem;
    const { bootId, spoolDir, journal } = world;
    const options = { recursive: true, mode: 0o700 } as const;
    // Nothing can be done without a spool: the pipeline tries to open it again at its interval.
    const required = (work: () => Promise<unknown>) =>
      this.#step(() =>
        work().catch((error: unknown) => {
          if (!this.tolerant || !isStorageError(error)) throw error;
          onNoStart();
          return work();
        }),
      );
    await required(() => fileSystem.mkdir(join(world.root, 'state/spool'), options));
    await required(async () => {
      const seals = this.seals === null ? {} : { seals: this.seals };
      this.spool = await Spool.open(spoolDir, { journal: 'foo', bootId, fileSystem, ...seals });
    });
    this.#promiseWhatIsSeen();
    await required(() => this.spool.addRoute(ROUTE, { after: 0 }));
    this.#promiseWhatIsSeen();
    this.capture = new JournalCapture({
      spool: this.spool,
      path: journal,
      settleAfterMs: 3_600_000,
      diskFloorBytes: 0,
      trimAboveBytes: world.options.trimAboveBytes ?? null,
    });
    await this.#step(() => this.capture.recover());
    this.world.recovered = true;
    await this.#step(async () => this.seals?.freeLeft());
    this.#promiseWhatIsSeen();
  }

  async #step(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.tolerant || !isStorageError(error)) throw error;
    }
    this.world.noteTruncations();
    if (this.process.dead) throw new Killed('died in this step');
  }

  /** Whatever a running producer believes, it acts on: no later cut may take it back. */
  #promiseWhatIsSeen(): void {
    const { stream, capturedBytes, lastSequence } = this.spool;
    const version = this.spool.nextBlobVersion();
    const generation = this.spool.route(ROUTE)?.generation;
    if (this.spool.route(ROUTE) === undefined) return; // nobody knows of this spool yet
    this.world.promise(
      `stream, ${lastSequence} batches of ${capturedBytes} bytes, version ${version}, generation ${generation}`,
      (later) =>
        later.stream === stream &&
        later.lastSequence >= lastSequence &&
        later.capturedBytes >= capturedBytes &&
        later.nextBlobVersion() >= version &&
        (later.route(ROUTE)?.generation ?? -1) >= (generation ?? 0),
    );
  }

  async append(bytes: number): Promise<void> {
    await this.world.append(bytes);
  }

  async captureAll(): Promise<void> {
    await this.#step(() => this.capture.capture());
    this.#promiseWhatIsSeen();
  }

  async settle(): Promise<void> {
    await this.#step(() => this.capture.settle());
  }

  /** Empties the journal now, whatever was in the way before. */
  async captureAtLast(): Promise<void> {
    this.tolerant = false;
    await this.captureAll();
    await checkStream(this.world, this.spool);
  }

  /** The route confirms everything; what nobody needs any more is deleted. */
  async ack(sequence = this.spool.lastSequence): Promise<void> {
    await this.#step(() => this.spool.recordAck(ROUTE, sequence));
    await this.#step(() => this.spool.reclaimed());
  }

  /** Several facts at once, which share one write and one sync. */
  async blobsAndGeneration(): Promise<void> {
    const first = this.spool.nextBlobVersion();
    const generation = (this.spool.route(ROUTE)?.generation ?? 0) + 1;
    await this.#step(() =>
      Promise.all([
        this.spool.recordBlobSeen('=1', { text: 'a', version: first, afterSequence: 0 }),
        this.spool.recordBlobSeen('=2', { text: 'b', version: first + 1, afterSequence: 0 }),
        this.spool.recordGeneration(ROUTE, generation),
      ]),
    );
    this.#promiseWhatIsSeen();
  }
}

/** Lets real recovery run in this world and compares all that there is, byte for byte. */
export async function recoverAndCheck(world: ProducerWorld): Promise<void> {
  const producer = new Producer(world);
  const end = await producer.live(async ({ spool }) => {
    for (const { what, holds } of world.promises.slice()) assert.ok(holds(spool), `gone: ${what}`);
    await producer.captureAll();
    await checkStream(world, spool);
    await producer.append(5000);
    await producer.captureAll();
    await checkStream(world, spool);
    assert.equal((await readFile(world.journal)).length, 0);
  });
  assert.equal(end, 'ended');
}

/** What a producer may report of a faulty disk; anything else is a mistake of ours. */
function isStorageError(error: unknown): boolean {
  return error instanceof FerryError ? error.kind === 'storage' : systemCode(error) !== undefined;
}

export async function checkStream(world: ProducerWorld, spool: Spool): Promise<void> {
  const { orElse } = world;
  if (orElse !== null && spool.capturedBytes === orElse.length) {
    world.written = orElse;
  }
  world.orElse = null;
  const { written } = world;
  assert.equal(spool.capturedBytes, written.length, 'bytes of all batches');
  const acked = spool.route(ROUTE)?.acked ?? 0;
  let end = written.length;
  for (let sequence = spool.lastSequence; sequence > acked; sequence -= 1) {
    const batch = spool.batch(sequence);
    assert.ok(batch !== undefined, `batch ${sequence} is gone, acked ${acked}`);
    const payload = await payloadOf(spool, sequence);
    const expected = written.subarray(end - batch.bytes, end);
    assert.ok(payload.equals(expected), `batch ${sequence} differs`);
    assert.equal(createHash('sha256').update(payload).digest('hex'), batch.sha256);
    end -= batch.bytes;
  }
  if (acked === 0) assert.equal(end, 0, 'bytes before the first batch');
}
