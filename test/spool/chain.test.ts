import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { beginChain, type Chain, chained, extended } from '../../src/common/chain.js';
import type { Checkpoint } from '../../src/producers/spool/facts.js';
import { DEAD_PAYLOAD_BYTES } from '../../src/producers/spool/log.js';
import { encodeRecord, scanSegment } from '../../src/producers/spool/record.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { failOnLeaks } from '../support/leaks.js';
import { sealInline, sha256, stateOf, temporaryDirectory } from './helpers.js';

failOnLeaks();

const options = { journal: 'foo', bootId: 'boot-1', now: () => 1_700_000_000_000 };

function payload(n: number): Buffer {
  return Buffer.from(`batch ${n}`);
}

/** What the chain over these batches ends with. */
function headOf(...batches: number[]): string {
  return batches.reduce((head, n) => chained(head, sha256(payload(n))), '');
}

function chainOf(...batches: number[]): Chain {
  return batches.reduce(
    (chain, n) => extended(chain, n, sha256(payload(n))),
    beginChain(batches[0] ?? 1),
  );
}

/** The log as a version without chains would have left it: one segment, no field of a chain. */
async function withoutChains(dir: string): Promise<void> {
  const file = join(dir, '0000000001.log');
  const segment = await readFile(file);
  const parts: Buffer[] = [];
  let end = 0;
  for (const { meta, payloadOffset, payloadBytes } of scanSegment(segment).records) {
    const fact = meta as Partial<Checkpoint>;
    if (fact.t === 'checkpoint') {
      for (const field of ['chain', 'chainBefore', 'chainSince'] as const) delete fact[field];
      fact.routes = fact.routes?.map(({ chain: _, ...route }) => route) ?? [];
    }
    const body =
      payloadBytes === 0 ? null : segment.subarray(payloadOffset, payloadOffset + payloadBytes);
    const head = encodeRecord(fact, body, end);
    parts.push(head, ...(body === null ? [] : [body]));
    end += head.length + payloadBytes;
  }
  await writeFile(file, Buffer.concat(parts));
}

test('the chain of a journal runs through every batch, also through one that was sealed anew', async (t) => {
  const dir = await temporaryDirectory(t);
  let spool = await Spool.open(dir, options);
  await spool.addRoute('r', { after: 0 });
  assert.equal(spool.chainHead, '');
  await sealInline(spool, payload(1));
  const short = Buffer.from('batch');
  const seal = { sequence: 2, inode: 1 };
  for (const part of [short, Buffer.from('batc'), payload(2)]) {
    await spool.seal({ ...seal, bytes: part.length, sha256: sha256(part), payload: part });
    assert.equal(spool.chainHead, headOf(1), 'not published yet');
  }
  spool.publish();
  assert.equal(spool.chainHead, headOf(1, 2));
  assert.equal(spool.batch(2)?.chain, headOf(1, 2));
  await spool.close();
  spool = await Spool.open(dir, options);
  assert.equal(spool.chainHead, headOf(1, 2));
  await sealInline(spool, payload(3));
  assert.equal(spool.chainHead, headOf(1, 2, 3));
  await spool.close();
});

test('it outlives the batches and the segments that it was made in', async (t) => {
  const dir = await temporaryDirectory(t);
  let spool = await Spool.open(dir, options);
  await spool.addRoute('r', { after: 0 });
  const large = Buffer.alloc(DEAD_PAYLOAD_BYTES / 4, 'x');
  let [head, chain] = ['', beginChain(1)];
  for (let n = 1; n <= 12; n += 1) {
    await sealInline(spool, large);
    head = chained(head, sha256(large));
    chain = extended(chain, n, sha256(large));
    await spool.recordAck('r', n);
    await spool.recordSettled(n);
  }
  await spool.reclaimed();
  assert.equal(spool.batch(1), undefined);
  const before = stateOf(spool);
  await spool.close();
  spool = await Spool.open(dir, options);
  assert.deepEqual(stateOf(spool), before);
  assert.deepEqual([spool.chainHead, spool.route('r')?.chain], [head, chain]);
  await spool.close();
});

test('the chain of a route leaves out what was given up, and begins anew with a new stream', async (t) => {
  const spool = await Spool.open(await temporaryDirectory(t), options);
  await spool.addRoute('r', { after: 0 });
  for (let n = 1; n <= 4; n += 1) await sealInline(spool, payload(n));
  await spool.recordAck('r', 2);
  await spool.recordVerdict('r', { kind: 'skip', sequence: 3 });
  await spool.recordAck('r', 4);
  assert.deepEqual(spool.route('r')?.chain, chainOf(1, 2, 4));
  assert.equal(spool.chainHead, headOf(1, 2, 3, 4));
  await spool.addRoute('late', { after: 4 });
  await sealInline(spool, payload(5));
  await spool.recordAck('late', 5);
  assert.deepEqual(spool.route('late')?.chain, chainOf(5));
  await spool.newStream();
  assert.deepEqual(spool.route('r')?.chain, beginChain(5));
  await spool.recordAck('r', 5);
  assert.deepEqual(spool.route('r')?.chain, chainOf(5));
  assert.deepEqual(spool.route('late')?.chain, beginChain(6));
  assert.equal(spool.chainHead, headOf(1, 2, 3, 4, 5), 'that of the journal goes on');
  await spool.renameRoute('r', 'renamed');
  assert.deepEqual(spool.route('renamed')?.chain, chainOf(5));
  await spool.close();
});

test('a batch that was confirmed before Redis heard of its skip counts as confirmed', async (t) => {
  const spool = await Spool.open(await temporaryDirectory(t), options);
  await spool.addRoute('r', { after: 0 });
  for (let n = 1; n <= 3; n += 1) await sealInline(spool, payload(n));
  await spool.recordAck('r', 1);
  await spool.recordVerdict('r', { kind: 'skip', sequence: 2 });
  await spool.recordConfirmedAfterAll('r');
  await spool.recordFinished('r');
  const mark = spool.route('r');
  assert.deepEqual([mark?.acked, mark?.previous, mark?.confirmed], [2, 2, 2]);
  assert.deepEqual([mark?.skipped, mark?.skippedBatches, mark?.skippedBytes], [[], 0, 0]);
  assert.deepEqual([mark?.ackedBatches, mark?.ackedBytes], [2, 14]);
  await spool.recordAck('r', 3);
  assert.deepEqual(spool.route('r')?.chain, chainOf(1, 2, 3));
  await spool.close();
});

test('a spool of a version without chains is read, and its chains begin where they can', async (t) => {
  const dir = await temporaryDirectory(t);
  let spool = await Spool.open(dir, options);
  await spool.addRoute('r', { after: 0 });
  for (let n = 1; n <= 2; n += 1) await sealInline(spool, payload(n));
  await spool.recordAck('r', 1);
  await spool.close();
  await withoutChains(dir);
  spool = await Spool.open(dir, options);
  // All of it stands in the log still: nothing is missing.
  assert.deepEqual([spool.chainSince, spool.chainHead], [1, headOf(1, 2)]);
  await spool.close();

  // An older one, of which only a checkpoint is left.
  const old = await temporaryDirectory(t);
  const checkpoint = scanSegment(await readFile(join(dir, '0000000001.log'))).records[0]?.meta;
  const held = { ...(checkpoint as Checkpoint), last: 2, captured: 14, settled: 2 };
  const mark = { destination: 'r', firstSequence: 1, acked: 2, accepted: 2, generation: 1 };
  const rest = { previous: 2, confirmed: 2, orphaned: false, paused: false, replay: null };
  const sums = { ackedBatches: 2, ackedBytes: 14, skippedBatches: 0, skippedBytes: 0 };
  const route = { ...mark, ...rest, ...sums, skipped: [], baseBytes: 0, lastVerdict: null };
  const first = encodeRecord({ ...held, routes: [route] }, null, 0);
  await writeFile(join(old, '0000000001.log'), first);
  spool = await Spool.open(old, options);
  assert.deepEqual([spool.chainSince, spool.chainHead], [3, '']);
  assert.deepEqual(spool.route('r')?.chain, beginChain(3, 2));
  await sealInline(spool, payload(3));
  await spool.recordAck('r', 3);
  await spool.close();
  spool = await Spool.open(old, options);
  assert.deepEqual([spool.chainSince, spool.chainHead], [3, headOf(3)]);
  assert.deepEqual(spool.route('r')?.chain, chainOf(3));
  await spool.close();
});
