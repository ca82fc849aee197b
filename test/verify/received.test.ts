import assert from 'node:assert/strict';
import {
  appendFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { crc32 } from 'node:zlib';
import { pino } from 'pino';
import { beginChain, extended } from '../../src/common/chain.js';
import { FerryError } from '../../src/common/errors.js';
import { nodeFileSystem } from '../../src/common/fileSystem.js';
import { NO_PROGRESS } from '../../src/common/progress.js';
import type { BatchRecord } from '../../src/receiver/batchRecord.js';
import { BatchStore, batchFileName } from '../../src/receiver/batchStore.js';
import { makeFolder } from '../../src/receiver/dataFolder.js';
import { INTAKE_FOLDER, Intake } from '../../src/receiver/intake/intake.js';
import { type ChainLine, parseLine } from '../../src/verify/chainLine.js';
import { verifyReceived } from '../../src/verify/received.js';
import type { ReceivedProof } from '../../src/verify/report.js';
import { OTHER_STREAM, STREAM, sha256 } from '../receiver/harness.js';
import { temporaryDirectory } from '../spool/helpers.js';
import { failOnLeaks } from '../support/leaks.js';

failOnLeaks();

const APP = 'foo.r';

/** The folder of a receiver with one app, without any process. */
class Received {
  store!: BatchStore;
  intake!: Intake;

  private constructor(
    private readonly t: TestContext,
    readonly dir: string,
  ) {}

  static async make(t: TestContext, batches = 0): Promise<Received> {
    const received = new Received(t, await temporaryDirectory(t));
    for (const name of ['batches', 'blobs', 'tmp']) {
      await makeFolder(nodeFileSystem, join(received.folder, name));
    }
    await received.open();
    for (let n = 1; n <= batches; n += 1) await received.accept(n);
    return received;
  }

  async open(): Promise<void> {
    const fs = nodeFileSystem;
    const intake = await Intake.open(this.dir, fs, pino({ level: 'silent' }));
    const store = await BatchStore.open({ app: APP, folder: this.folder, fs, intake });
    this.store = store;
    this.intake = intake;
    this.t.after(async () => {
      await intake.close(0);
      await store.close();
    });
  }

  get folder(): string {
    return join(this.dir, APP);
  }

  batch(number: number): string {
    return join(this.folder, 'batches', batchFileName(number));
  }

  get index(): string {
    return join(this.folder, 'index.log');
  }

  /** `previous` null: a sender without identity. */
  async accept(
    sequence: number,
    previous: number | null = sequence - 1,
    stream = STREAM,
    settled = true,
  ): Promise<void> {
    const data = Buffer.from(`batch ${sequence} of ${stream}`);
    const incoming = await this.store.begin(data.length);
    await incoming.write(data);
    const claim = previous === null ? null : { stream, sequence, previous };
    const verdict = await this.store.commit(incoming, claim, null);
    assert.equal(verdict.is, 'stored');
    if (settled) await this.intake.settle();
  }

  verify(
    options: { expect?: string[]; removed?: number; app?: string } = {},
  ): Promise<ReceivedProof> {
    const expect: ChainLine[] = (options.expect ?? []).map(parseLine);
    const { removed = 0, app = null } = options;
    return verifyReceived(this.dir, { app, expect, removed, progress: NO_PROGRESS });
  }

  /** Changes the records, with checksums that are right. */
  rewrite(change: (record: BatchRecord) => BatchRecord): void {
    const lines = readFileSync(this.index, 'utf8').trimEnd().split('\n');
    const changed = lines.map((line) => {
      const json = JSON.stringify((JSON.parse(line.slice(9)) as BatchRecord[]).map(change));
      return `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`;
    });
    writeFileSync(this.index, changed.join(''));
  }
}

/** What the sender prints when it has confirmed these, and nothing else, since it knows. */
function lineOf(sequences: readonly number[], stream = STREAM): string {
  const chain = sequences.reduce(
    (all, n) => extended(all, n, sha256(`batch ${n} of ${stream}`)),
    beginChain(1),
  );
  return `${stream}:${chain.since}:${chain.through}:${chain.head}`;
}

function flip(path: string): void {
  const content = readFileSync(path);
  content[3] = (content[3] ?? 0) ^ 1;
  writeFileSync(path, content);
}

function found({ differences }: ReceivedProof): unknown[] {
  for (const one of differences) assert.ok(one.what.length > 0 && one.do.length > 0);
  return differences.map(({ code, sequence }) => [code, sequence]);
}

describe('ferry verify --received', () => {
  it('proves every batch, and a chain for each stream', async (t) => {
    const received = await Received.make(t, 3);
    await received.accept(1, 0, OTHER_STREAM);
    await received.accept(4);
    await received.accept(9, null);
    const proof = await received.verify({ expect: [lineOf([1, 2, 3, 4])] });
    assert.deepEqual([proof.ok, proof.complete, found(proof)], [true, true, []]);
    const [one, other, nobody] = proof.apps[0]?.streams ?? [];
    assert.deepEqual([one?.batches, one?.lastSequence, one?.expected], [4, 4, { ahead: 0 }]);
    assert.equal(one?.chain.line, lineOf([1, 2, 3, 4]));
    assert.equal(other?.chain.line, lineOf([1], OTHER_STREAM));
    assert.deepEqual([nobody?.stream, nobody?.batches, nobody?.chain.line], [null, 1, null]);
    assert.equal(proof.apps[0]?.batches, 6);
  });

  it('compares with a line from any moment, and from a chain that began later', async (t) => {
    const received = await Received.make(t, 5);
    const expected = async (line: string): Promise<unknown> => {
      const proof = await received.verify({ expect: [line] });
      return proof.apps[0]?.streams[0]?.expected ?? found(proof)[0];
    };
    assert.deepEqual(await expected(lineOf([1, 2, 3])), { ahead: 2 });
    assert.deepEqual(await expected(lineOf([3, 4])), { ahead: 1 });
    assert.deepEqual(await expected(lineOf([1, 2, 4])), ['CHAIN_DIFFERS', null]);
    assert.deepEqual(await expected(lineOf([2, 1, 3])), ['CHAIN_DIFFERS', null]);
    assert.deepEqual(await expected(lineOf([1, 2, 3, 4, 5, 6])), ['RECEIVER_BEHIND', null]);
    assert.deepEqual(await expected(lineOf([1], OTHER_STREAM)), ['STREAM_UNKNOWN', null]);
  });

  it('follows what its senders confirmed, whatever they gave up, also after a restart', async (t) => {
    const received = await Received.make(t, 2);
    await received.accept(4, 2); // 3 never came
    await received.accept(5); // its T was lost, and it was given up
    await received.accept(6, 4);
    await received.store.close();
    await received.open();
    await received.accept(7);
    const proof = await received.verify({ expect: [lineOf([1, 2, 4, 6, 7])] });
    assert.deepEqual(found(proof), []);
    assert.deepEqual(proof.apps[0]?.streams[0]?.expected, { ahead: 0 });
    // A route that was dropped and put back begins anew.
    await received.accept(9, 0);
    const anew = await received.verify({ expect: [lineOf([9])] });
    assert.deepEqual(found(anew), []);
    assert.equal(anew.apps[0]?.streams[0]?.chain.line, lineOf([9]));
  });

  it('names what is changed, missing, swapped and too much', async (t) => {
    const received = await Received.make(t, 6);
    flip(received.batch(1));
    rmSync(received.batch(2));
    renameSync(received.batch(4), `${received.batch(4)}.aside`);
    renameSync(received.batch(5), received.batch(4));
    renameSync(`${received.batch(4)}.aside`, received.batch(5));
    cpSync(received.batch(6), received.batch(7));
    writeFileSync(join(received.folder, 'batches', 'notes'), 'x');
    const proof = await received.verify();
    assert.deepEqual(found(proof), [
      ['FILE_MISSING', 2],
      ['FILE_CHANGED', 1],
      ['FILE_CHANGED', 4],
      ['FILE_CHANGED', 5],
      ['FILE_EXTRA', 7],
      ['FILE_EXTRA', null],
    ]);
    assert.match(proof.differences[2]?.what ?? '', /are those of batch 5/);
    assert.match(proof.differences[3]?.what ?? '', /are those of batch 4/);
  });

  it('does not miss what was removed after its use', async (t) => {
    const received = await Received.make(t, 4);
    writeFileSync(join(received.folder, 'applied'), '2\n');
    for (const number of [1, 2, 3]) rmSync(received.batch(number));
    assert.deepEqual(found(await received.verify()), [['FILE_MISSING', 3]]);
    const proof = await received.verify({ removed: 3 });
    assert.deepEqual([found(proof), proof.apps[0]?.removed], [[], 3]);
    assert.equal(proof.apps[0]?.streams[0]?.chain.line, lineOf([1, 2, 3, 4]));
  });

  it('sees an index that lost its end, that is torn, damaged or rewritten', async (t) => {
    const received = await Received.make(t, 4);
    const whole = readFileSync(received.index);
    const lines = whole.toString().split('\n');
    writeFileSync(received.index, `${lines.slice(0, 3).join('\n')}\n`);
    writeFileSync(join(received.folder, 'applied'), '4\n');
    assert.deepEqual(found(await received.verify()), [
      ['FILE_EXTRA', 4],
      ['INDEX_SHORT', null],
    ]);
    rmSync(join(received.folder, 'applied'));
    writeFileSync(received.index, whole);
    appendFileSync(received.index, 'torn');
    const torn = await received.verify();
    assert.deepEqual([torn.ok, torn.complete], [true, false]);
    assert.match(torn.unchecked[0]?.what ?? '', /ends in 4 bytes/);
    const damaged = Buffer.from(whole);
    damaged[12] = (damaged[12] ?? 0) ^ 1;
    writeFileSync(received.index, damaged);
    assert.deepEqual(found(await received.verify())[0], ['INDEX_DAMAGED', null]);
    writeFileSync(received.index, whole);
    received.rewrite((one) => (one.number === 3 ? { ...one, sha256: sha256('x') } : one));
    assert.deepEqual(found(await received.verify()).sort(), [
      ['CHAIN_BROKEN', 3],
      ['CHAIN_BROKEN', 4],
      ['FILE_CHANGED', 3],
    ]);
    writeFileSync(received.index, whole);
    received.rewrite((one) => ({ ...one, number: one.number < 3 ? one.number : one.number + 1 }));
    assert.deepEqual(found(await received.verify())[0], ['NUMBER_MISSING', 4]);
    writeFileSync(received.index, whole);
    received.rewrite((one) => (one.number === 4 ? { ...one, previous: 9, sequence: 10 } : one));
    assert.deepEqual(found(await received.verify())[0], ['GAP', 4]);
  });

  it('reads what a version without chains stored, and goes on from there', async (t) => {
    const received = await Received.make(t, 3);
    await received.store.close();
    received.rewrite(({ chain: _, ...record }) => record);
    await received.open();
    await received.accept(4);
    const proof = await received.verify({ expect: [lineOf([1, 2, 3, 4])] });
    assert.deepEqual(found(proof), []);
    assert.deepEqual(proof.apps[0]?.streams[0]?.expected, { ahead: 0 });
    assert.match(readFileSync(received.index, 'utf8'), new RegExp(lineOf([1, 2, 3, 4]).slice(-64)));
  });

  it('knows a batch that is accepted and has not got its name, and every stored blob', async (t) => {
    const received = await Received.make(t, 2);
    const lines = readFileSync(received.index, 'utf8').trimEnd().split('\n');
    const [record] = JSON.parse(lines[1]?.slice(9) ?? '') as BatchRecord[];
    assert.ok(record);
    renameSync(received.batch(2), join(received.folder, 'tmp', record.part));
    assert.deepEqual(found(await received.verify()), []);
    const json = JSON.stringify([{ stream: STREAM, path: 'a/1.img', version: 1 }]);
    const crc = crc32(json).toString(16).padStart(8, '0');
    writeFileSync(join(received.folder, 'blobs.log'), `${crc} ${json}\n`);
    assert.deepEqual(found(await received.verify()), [['BLOB_MISSING', null]]);
    await makeFolder(nodeFileSystem, join(received.folder, 'blobs/a'));
    writeFileSync(join(received.folder, 'blobs/a/1.img'), 'x');
    const proof = await received.verify({ app: APP });
    assert.deepEqual([found(proof), proof.apps[0]?.blobs], [[], 1]);
  });

  it('finds nothing while batches come in beside it', async (t) => {
    const received = await Received.make(t, 1);
    let next = 2;
    let working = true;
    const work = (async () => {
      for (; working; next += 1) await received.accept(next);
    })();
    for (let looks = 0; looks < 10 || next < 200; looks += 1) {
      const proof = await received.verify({ expect: [lineOf([1])] });
      assert.deepEqual([found(proof), proof.unchecked], [[], []]);
    }
    working = false;
    await work;
  });

  it('says which folder and which app there is not', async (t) => {
    const received = await Received.make(t, 1);
    const isUsage = (code: string) => (e: unknown) =>
      e instanceof FerryError && e.kind === 'usage' && e.code === code;
    await assert.rejects(received.verify({ app: 'bar.r' }), isUsage('APP_UNKNOWN'));
    const nowhere = { app: null, expect: [], removed: 0, progress: NO_PROGRESS };
    await assert.rejects(
      verifyReceived(join(received.dir, 'x'), nowhere),
      isUsage('NO_DATA_FOLDER'),
    );
  });
});

describe('a receiver that has not made durable in its place what its intake holds', () => {
  async function unsettled(t: TestContext): Promise<Received> {
    const received = await Received.make(t, 2);
    for (const n of [3, 4, 5]) await received.accept(n, n - 1, STREAM, false);
    return received;
  }

  it('is proved while it is at work', async (t) => {
    const received = await unsettled(t);
    const proof = await received.verify();
    assert.deepEqual([proof.ok, proof.complete, proof.apps[0]?.batches], [true, true, 5]);
  });

  it('is proved by its intake where a power cut has taken files and the end of the index', async (t) => {
    const received = await unsettled(t);
    const index = readFileSync(received.index, 'latin1').trimEnd().split('\n');
    rmSync(received.batch(4));
    writeFileSync(received.batch(3), '');
    const zeros = '\0'.repeat(index[3]?.length ?? 0);
    writeFileSync(received.index, [...index.slice(0, 3), zeros, index[4], ''].join('\n'));
    const proof = await received.verify();
    assert.deepEqual(proof.differences, []);
    assert.deepEqual([proof.complete, proof.apps[0]?.batches], [true, 5]);
    assert.equal(proof.apps[0]?.streams[0]?.lastSequence, 5);
  });

  it('differs where neither has it', async (t) => {
    const received = await unsettled(t);
    rmSync(received.batch(2));
    const proof = await received.verify();
    assert.deepEqual(
      proof.differences.map(({ code, sequence }) => [code, sequence]),
      [['FILE_MISSING', 2]],
    );
  });

  it('has its damage told', async (t) => {
    const received = await unsettled(t);
    const [name = ''] = readdirSync(join(received.dir, INTAKE_FOLDER));
    const segment = join(received.dir, INTAKE_FOLDER, name);
    const bytes = readFileSync(segment);
    bytes.writeUInt8(bytes.readUInt8(200) ^ 1, 200);
    writeFileSync(segment, bytes);
    const proof = await received.verify();
    assert.deepEqual(
      proof.differences.map(({ code }) => code),
      ['INTAKE_DAMAGED'],
    );
  });
});
