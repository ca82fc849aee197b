import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import { beginChain, extended } from '../../src/common/chain.js';
import { FerryError } from '../../src/common/errors.js';
import { NO_PROGRESS } from '../../src/common/progress.js';
import { parseConfig } from '../../src/config/load.js';
import { Archive } from '../../src/producers/archive/archive.js';
import { deliveredDir } from '../../src/producers/archive/archiveFiles.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { spoolDir } from '../../src/producers/spoolFiles.js';
import { parseLine, shown } from '../../src/verify/chainLine.js';
import type { SentProof } from '../../src/verify/report.js';
import { verifySent } from '../../src/verify/sent.js';
import { sealInline, sha256, temporaryDirectory } from '../spool/helpers.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';

failOnLeaks();

const log = pino({ level: 'silent' });
const JOURNAL = 'foo';
/** Of a verify beside a busy spool. */
const LOOKS_MIN = 10;
const BATCHES_MIN = 150;

/** The spool of one journal, without any process. */
class Sender {
  spool!: Spool;

  constructor(
    private readonly t: TestContext,
    readonly stateDir: string,
  ) {}

  static async make(t: TestContext, ...routes: string[]): Promise<Sender> {
    const sender = new Sender(t, await temporaryDirectory(t));
    await sender.open();
    for (const route of routes) await sender.spool.addRoute(route, { after: 0 });
    return sender;
  }

  get dir(): string {
    return spoolDir(this.stateDir, JOURNAL);
  }

  async open(): Promise<void> {
    const spool = await Spool.open(this.dir, { journal: JOURNAL, bootId: 'boot' });
    this.spool = spool;
    this.t.after(() => spool.close());
  }

  async small(): Promise<number> {
    return sealInline(this.spool, randomBytes(50));
  }

  /** As a large journal's: a file of its own. */
  async large(): Promise<number> {
    const content = randomBytes(5_000);
    const sequence = this.spool.nextSequence;
    await writeFile(this.spool.partPath(sequence), content);
    const seal = { sequence, bytes: content.length, sha256: sha256(content), inode: 1 };
    await this.spool.seal({ ...seal, payload: null });
    this.spool.publish();
    await this.spool.recordTruncated(sequence);
    return sequence;
  }

  /** The file of a large one. */
  file(sequence: number): string {
    return this.spool.partPath(sequence);
  }

  async verify(name: string | null = null, ...lines: string[]): Promise<SentProof> {
    const text =
      'journals: [{name: foo, path: foo, to: replica}]\ndestinations: {replica: {host: h, url: u, key: k}}\n';
    const config = parseConfig(text, { file: join(this.stateDir, '..', 'ferry.yaml'), env: {} });
    return verifySent({ ...config, stateDir: this.stateDir }, log, {
      ...{ name, isDaemon: false, archive: true, progress: NO_PROGRESS },
      expect: lines.map(parseLine),
    });
  }

  /** What the route has confirmed, as its receiver would say it. */
  line(...sequences: number[]): string {
    const digests = sequences.map((sequence) => this.spool.batch(sequence)?.sha256 ?? '');
    const chain = sequences.reduce(
      (all, sequence, i) => extended(all, sequence, digests[i] ?? ''),
      beginChain(1),
    );
    return shown(this.spool.stream, chain).line ?? '';
  }
}

function flip(path: string, at: number): void {
  const content = readFileSync(path);
  content[at] = (content[at] ?? 0) ^ 1;
  writeFileSync(path, content);
}

/** Code, routes and batch of everything that differs. */
function found({ differences }: SentProof): unknown[] {
  for (const one of differences) assert.ok(one.what.length > 0 && one.do.length > 0);
  return differences.map(({ code, routes, sequence }) => [code, routes, sequence]);
}

describe('ferry verify on the sender', () => {
  it('proves captured = confirmed + skipped + waiting, and says that it could not ask Redis', async (t) => {
    const sender = await Sender.make(t, 'a', 'b');
    for (let i = 0; i < 2; i += 1) {
      await sender.small();
      await sender.large();
    }
    await sender.spool.recordAck('a', 2);
    await sender.spool.recordVerdict('a', { kind: 'skip', sequence: 3 });
    await sender.spool.addRoute('late', { after: 4 });
    await sender.small();
    const proof = await sender.verify();
    assert.deepEqual([proof.ok, proof.complete, found(proof)], [true, false, []]);
    assert.match(
      proof.unchecked[0]?.what ?? '',
      /Redis was not compared: the embedded Redis is not/,
    );
    const [a, b, late] = proof.routes;
    assert.deepEqual(a?.captured, { batches: 5, bytes: 10_150 });
    assert.deepEqual(a?.confirmed, { batches: 2, bytes: 5_050 });
    assert.deepEqual(a?.skipped, { batches: 1, bytes: 50 });
    assert.deepEqual(a?.waiting, { batches: 2, bytes: 5_050 });
    assert.deepEqual(b?.waiting, b?.captured);
    assert.deepEqual(late?.captured, { batches: 1, bytes: 50 });
    assert.deepEqual([a?.chain.since, a?.chain.through, b?.chain.line], [1, 2, null]);
    assert.deepEqual((await sender.verify('foo@late')).routes, [late]);
    assert.deepEqual((await sender.verify('foo')).routes, [a, b, late]);
    await assert.rejects(sender.verify('bar'), /no route is named bar/);
    await assert.rejects(sender.verify('foo', sender.line(1, 2)), /journal foo has 3 routes/);
  });

  it('names the batch of which a byte was flipped, in a file of its own and in the log', async (t) => {
    const sender = await Sender.make(t, 'a', 'b');
    await sender.small();
    await sender.large();
    await sender.small();
    await sender.large();
    await sender.spool.recordAck('a', 2);
    flip(sender.file(2), 4_000);
    assert.deepEqual(found(await sender.verify()), [['BATCH_CHANGED', ['foo@b'], 2]]);
    flip(sender.file(2), 4_000);
    assert.deepEqual(found(await sender.verify()), []);
    const { location } = sender.spool.batch(3) ?? assert.fail();
    flip(join(sender.dir, location.file), location.offset + 7);
    const proof = await sender.verify();
    assert.deepEqual(found(proof), [['SPOOL_DAMAGED', ['foo@a', 'foo@b'], 3]]);
    assert.ok(proof.unchecked.some(({ what }) => /behind the damage/.test(what)));
  });

  it('names the batch whose file is gone or too short', async (t) => {
    const sender = await Sender.make(t, 'a');
    await sender.large();
    await sender.large();
    truncateSync(sender.file(1), 4_999);
    rmSync(sender.file(2));
    assert.deepEqual(found(await sender.verify()), [
      ['BATCH_CHANGED', ['foo@a'], 1],
      ['BATCH_CHANGED', ['foo@a'], 2],
    ]);
  });

  it('calls a torn end of the log neither damage nor proof', async (t) => {
    const sender = await Sender.make(t, 'a');
    await sender.small();
    const file = join(sender.dir, '0000000001.log');
    writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from('JFR1 torn')]));
    const proof = await sender.verify();
    assert.deepEqual([proof.ok, found(proof)], [true, []]);
    assert.match(proof.unchecked[0]?.what ?? '', /ends in 9 bytes/);
  });

  it('finds nothing while batches are sealed, superseded, confirmed and freed beside it', async (t) => {
    const sender = await Sender.make(t, 'a');
    const { spool } = sender;
    let working = true;
    const work = (async () => {
      while (working) {
        const next = spool.nextSequence;
        if (next % 5 === 0) {
          // The writer took no lock: the seal is superseded by a longer one.
          const seal = { sequence: next, bytes: 1, sha256: sha256(Buffer.from('x')), inode: 1 };
          await spool.seal({ ...seal, payload: Buffer.from('x') });
        }
        const sequence = await (next % 2 === 0 ? sender.small() : sender.large());
        await spool.recordSettled(sequence);
        if (sequence % 3 === 0) await spool.recordAck('a', sequence - 1);
      }
    })();
    for (let looks = 0; looks < LOOKS_MIN || spool.lastSequence < BATCHES_MIN; looks += 1) {
      assert.deepEqual(found(await sender.verify()), []);
    }
    working = false;
    await work;
  });

  it('compares with the line of a receiver, which may be ahead', async (t) => {
    const sender = await Sender.make(t, 'a');
    for (let i = 0; i < 4; i += 1) await sender.small();
    const [second, fourth] = [sender.line(1, 2), sender.line(1, 2, 3, 4)];
    await sender.spool.recordAck('a', 2);
    const ahead = async (line: string): Promise<unknown> => {
      const proof = await sender.verify('foo', line);
      return found(proof)[0] ?? proof.routes[0]?.expected;
    };
    assert.deepEqual(await ahead(second), { ahead: 0 });
    assert.deepEqual(await ahead(fourth), { ahead: 2 });
    assert.deepEqual(await ahead(sender.line(1, 3, 4)), ['CHAIN_DIFFERS', ['foo@a'], 4]);
    assert.deepEqual(await ahead(sender.line(1)), ['RECEIVER_BEHIND', ['foo@a'], 1]);
    assert.deepEqual(await ahead(sender.line(2, 3)), ['NOT_COMPARABLE', ['foo@a'], 3]);
    const beyond = fourth.replace(':4:', ':9:');
    assert.deepEqual(await ahead(beyond), ['RECEIVER_AHEAD', ['foo@a'], 9]);
    const foreign = fourth.replace(/^.{32}/, 'f'.repeat(32));
    assert.deepEqual(await ahead(foreign), ['STREAM_UNKNOWN', [], null]);
    assert.throws(
      () => parseLine('9a41'),
      (e) => e instanceof FerryError && e.kind === 'usage',
    );
  });

  it('checks the archive of delivered batches as well', async (t) => {
    const sender = await Sender.make(t, 'a');
    await sender.spool.recordArchiving(true);
    const limits = { keepMs: 3_600_000, maxBytes: 1024 ** 3 };
    const archive = new Archive({ ...limits, spool: sender.spool, stateDir: sender.stateDir, log });
    t.after(() => archive.stop());
    for (let i = 0; i < 2; i += 1) {
      await sender.small();
      const sequence = await sender.large();
      await sender.spool.recordAck('a', sequence);
      await sender.spool.recordSettled(sequence);
    }
    const dir = deliveredDir(sender.stateDir, JOURNAL);
    await until('all are archived', () => sender.spool.archivedThrough === 4);
    const proof = await sender.verify();
    assert.deepEqual(found(proof), []);
    assert.deepEqual(proof.journals[0]?.archived, { batches: 4, bytes: 10_100 });
    const pack = readdirSync(dir).find((name) => name.endsWith('.pack')) ?? assert.fail();
    flip(join(dir, pack), 60); // of the third, the second small one
    assert.deepEqual(found(await sender.verify()), [['ARCHIVE_CHANGED', [], 3]]);
    flip(join(dir, pack), 60);
    assert.ok(existsSync(join(dir, '0000000002.batch')));
    rmSync(join(dir, '0000000002.batch'));
    const index = readdirSync(dir).find((name) => name.endsWith('.index')) ?? assert.fail();
    const text = readFileSync(join(dir, index), 'utf8');
    const { chain } = sender.spool.batch(4) ?? assert.fail();
    assert.ok(chain !== undefined && text.includes(chain));
    writeFileSync(join(dir, index), text.replace(chain, '0'.repeat(64)));
    assert.deepEqual(found(await sender.verify()), [
      ['ARCHIVE_CHANGED', [], 2],
      ['CHAIN_BROKEN', [], 4],
    ]);
  });
});
