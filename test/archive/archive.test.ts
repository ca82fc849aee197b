import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFileSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import { Archive } from '../../src/producers/archive/archive.js';
import { deliveredDir, SEGMENT_LINES } from '../../src/producers/archive/archiveFiles.js';
import { archivedBatches, archiveSpan } from '../../src/producers/archive/archiveReader.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { sealInline, sha256, temporaryDirectory } from '../spool/helpers.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';

failOnLeaks();

const JOURNAL = 'foo';
const HOUR_MS = 3_600_000;
const MIB = 1024 * 1024;

/** A spool with one route, and its archive. */
class Kept {
  readonly payloads: Buffer[] = [];
  readonly dir: string;
  readonly said: string[] = [];
  archive!: Archive;
  spool!: Spool;

  constructor(
    private readonly t: TestContext,
    private readonly stateDir: string,
    private readonly limits: { keepMs: number; maxBytes: number },
  ) {
    this.dir = deliveredDir(stateDir, JOURNAL);
  }

  static async open(
    t: TestContext,
    limits: { keepMs?: number; maxBytes?: number } = {},
  ): Promise<Kept> {
    const kept = new Kept(t, await temporaryDirectory(t), {
      keepMs: HOUR_MS,
      maxBytes: 64 * MIB,
      ...limits,
    });
    await kept.start();
    await kept.spool.addRoute('replica', { after: 0 });
    return kept;
  }

  async start(): Promise<void> {
    this.spool = await Spool.open(join(this.stateDir, 'spool', JOURNAL), {
      journal: JOURNAL,
      bootId: 'boot',
    });
    const spool = this.spool;
    await spool.recordArchiving(true);
    const log = pino({ base: null }, { write: (line: string) => void this.said.push(line) });
    this.archive = new Archive({ spool, stateDir: this.stateDir, log, ...this.limits });
    const archive = this.archive;
    archive.look();
    this.t.after(async () => {
      await archive.stop();
      await spool.close();
    });
  }

  async restart(): Promise<void> {
    await this.archive.stop();
    await this.spool.close();
    await this.start();
  }

  /** Seals so many, and has them confirmed. */
  async deliver(count: number, bytes: number): Promise<void> {
    for (let done = 0; done < count; done += 1) {
      const payload = randomBytes(bytes);
      this.payloads.push(payload);
      await sealInline(this.spool, payload);
    }
    await this.spool.recordAck('replica', this.spool.lastSequence);
    await this.spool.recordSettled(this.spool.lastSequence);
  }

  async archived(): Promise<void> {
    const { spool } = this;
    await until('all is archived', () => spool.archivedThrough === spool.lastSequence);
  }

  /** Every batch that the archive names has the bytes that it had. */
  async check(): Promise<number[]> {
    const sequences: number[] = [];
    for await (const batch of archivedBatches(this.dir, 1, Number.MAX_SAFE_INTEGER)) {
      const { file, offset } = batch.location;
      const payload = readFileSync(join(this.dir, file)).subarray(offset, offset + batch.bytes);
      assert.deepEqual(payload, this.payloads[batch.sequence - 1]);
      assert.equal(batch.sha256, sha256(payload));
      sequences.push(batch.sequence);
    }
    return sequences;
  }

  files(): string[] {
    return readdirSync(this.dir).sort();
  }
}

function upTo(last: number, first = 1): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

describe('the archive of a journal', () => {
  it('puts many small batches into few files, and frees them from the spool', async (t) => {
    const kept = await Kept.open(t);
    const count = SEGMENT_LINES + 10;
    await kept.deliver(count, 40);
    await kept.archived();
    assert.deepEqual(await kept.check(), upTo(count));
    assert.equal(kept.files().length, 4);
    assert.deepEqual(
      [...kept.spool.batchesAfter(0)].map(({ sequence }) => sequence),
      [count],
    );
    assert.deepEqual(kept.archive.gauge, { batches: count, bytes: count * 40 });
    assert.deepEqual(await archiveSpan(kept.dir), { from: 1, to: count, bytes: count * 40 });
  });

  it('cuts off what a kill has torn, and archives it again', async (t) => {
    const kept = await Kept.open(t);
    await kept.deliver(3, 100);
    await kept.archived();
    await kept.archive.stop();
    await kept.spool.close();
    appendFileSync(join(kept.dir, '0000000001.index'), '{"n":4,"bytes":1');
    appendFileSync(join(kept.dir, '0000000001.pack'), randomBytes(50));
    writeFileSync(join(kept.dir, '0000000004.batch'), 'a file whose line was never written');
    await kept.start();
    await kept.deliver(2, 100);
    await kept.archived();
    assert.deepEqual(await kept.check(), upTo(5));
    assert.deepEqual(kept.files(), ['0000000001.index', '0000000001.pack']);
  });

  it('does not name what a power cut has taken; what follows stands behind the hole', async (t) => {
    const kept = await Kept.open(t);
    await kept.deliver(3, 100);
    await kept.archived();
    await kept.archive.stop();
    await kept.spool.close();
    truncateSync(join(kept.dir, '0000000001.pack'), 250);
    await kept.start();
    await kept.deliver(2, 100);
    await kept.archived();
    assert.deepEqual(await kept.check(), [1, 2, 4, 5]);
    assert.deepEqual(await archiveSpan(kept.dir), { from: 4, to: 5, bytes: 200 });
  });

  it('stays within its bytes, lines included, and keeps the newest', async (t) => {
    const maxBytes = 100_000;
    const kept = await Kept.open(t, { maxBytes });
    for (let round = 0; round < 6; round += 1) {
      await kept.deliver(20, 1_000);
      await kept.archived();
    }
    const there = await kept.check();
    assert.equal(there.at(-1), 120);
    assert.deepEqual(there, upTo(120, there[0]));
    const { bytes = 0 } = kept.archive.gauge ?? {};
    assert.equal(bytes, there.length * 1_000);
    assert.ok(bytes > maxBytes / 2 && bytes < maxBytes);
    await kept.restart();
    await until('looked at', () => kept.archive.gauge !== null);
    assert.equal(kept.archive.gauge?.bytes, bytes);
  });

  it('keeps nothing of a batch that is larger than all it may keep, and goes on', async (t) => {
    const kept = await Kept.open(t, { maxBytes: 5_000 });
    await kept.deliver(1, 6_000);
    await kept.archived();
    await kept.deliver(2, 100);
    await kept.archived();
    assert.deepEqual(await kept.check(), [2, 3]);
  });

  it('lets go of what is too old, also when nothing is delivered any more', async (t) => {
    const kept = await Kept.open(t, { keepMs: 300 });
    await kept.deliver(2, 100);
    await kept.archived();
    await until('all of it went', () => {
      kept.archive.look();
      return kept.files().length === 0;
    });
    assert.deepEqual(kept.archive.gauge, { batches: 0, bytes: 0 });
  });

  it('moves the archive of a former spool of that name aside', async (t) => {
    const kept = await Kept.open(t);
    await kept.deliver(3, 100);
    await kept.archived();
    await kept.archive.stop();
    await kept.spool.close();
    await rename(kept.spool.dir, `${kept.spool.dir}-former`);
    kept.payloads.length = 0;
    await kept.start();
    await kept.spool.addRoute('replica', { after: 0 });
    await kept.deliver(2, 100);
    await kept.archived();
    assert.deepEqual(await kept.check(), [1, 2]);
    const [former = ''] = readdirSync(dirname(kept.dir)).filter((name) => name !== 'delivered');
    assert.match(former, /^former-/);
    assert.deepEqual(await archiveSpan(join(dirname(kept.dir), former)), {
      from: 1,
      to: 3,
      bytes: 300,
    });
  });

  it('prunes nothing that a replay needs, and does it afterwards', async (t) => {
    const kept = await Kept.open(t, { maxBytes: 20_000 });
    await kept.deliver(10, 1_000);
    await kept.archived();
    const [first = 0] = await kept.check();
    const giveBack = kept.archive.hold(first);
    await kept.deliver(10, 1_000);
    await kept.archived();
    assert.equal((await kept.check())[0], first, 'while it is looked at');
    await kept.spool.recordVerdict('replica', { kind: 'replay', sequence: first });
    giveBack();
    await kept.spool.recordAck('replica', first);
    await kept.deliver(0, 0);
    await kept.archived();
    assert.equal((await kept.check())[0], first, 'while it is replayed');
    await kept.spool.recordAck('replica', kept.spool.lastSequence);
    await kept.deliver(1, 1_000);
    await kept.archived();
    await until('the oldest are gone', async () => ((await kept.check())[0] ?? 0) > first);
  });

  it('holds up nothing where it cannot be written: said once, and the spool is freed', async (t) => {
    const kept = await Kept.open(t);
    await mkdir(dirname(kept.dir), { recursive: true });
    await writeFile(kept.dir, 'not a directory');
    for (let round = 0; round < 3; round += 1) {
      await kept.deliver(2, 100);
      await kept.archived();
    }
    assert.equal([...kept.spool.batchesAfter(0)].length, 1);
    assert.equal(kept.said.filter((line) => line.includes('not kept in the archive')).length, 1);
  });

  it('costs nothing at a journal of which nothing was ever delivered', async (t) => {
    const kept = await Kept.open(t);
    await until('looked at', () => kept.archive.gauge !== null);
    assert.deepEqual(kept.archive.gauge, { batches: 0, bytes: 0 });
    assert.throws(() => readdirSync(kept.dir), { code: 'ENOENT' });
  });
});
