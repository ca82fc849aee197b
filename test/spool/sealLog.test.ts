import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FileSystem } from '../../src/common/fileSystem.js';
import { JournalCapture } from '../../src/producers/capture/capture.js';
import { sealsDirIn } from '../../src/producers/spool/sealCopies.js';
import { SealLog, type SealLogOptions } from '../../src/producers/spool/sealLog.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { FaultyFileSystem } from '../support/faultyFileSystem.js';
import { failOnLeaks } from '../support/leaks.js';
import { payloadOf, sealInline, sha256, temporaryDirectory } from './helpers.js';

failOnLeaks();

const BOOT = 'boot-1';
const NEXT_BOOT = 'boot-2';

/** A state directory with some spools and the seal log that they share. */
class State {
  readonly spools: Spool[] = [];

  private constructor(
    readonly dir: string,
    readonly seals: SealLog,
    readonly fileSystem: FaultyFileSystem,
  ) {}

  static async open(
    t: TestContext,
    names: readonly string[],
    options: Partial<SealLogOptions> = {},
  ): Promise<State> {
    const dir = await temporaryDirectory(t);
    mkdirSync(join(dir, 'spool'));
    const fileSystem = new FaultyFileSystem();
    const seals = new SealLog(sealsDirIn(dir), { bootId: BOOT, fileSystem, ...options });
    const state = new State(dir, seals, fileSystem);
    for (const name of names) {
      const spool = await state.spool(name, BOOT, { seals, fileSystem });
      await spool.addRoute('r', { after: 0 });
      state.spools.push(spool);
    }
    fileSystem.calls.clear();
    return state;
  }

  spool(name: string, bootId: string, more: { seals?: SealLog; fileSystem?: FileSystem } = {}) {
    return Spool.open(join(this.dir, 'spool', name), { journal: name, bootId, ...more });
  }

  /** Every spool seals a batch of its own at the same moment. */
  async sealAll(text: string): Promise<void> {
    await Promise.all(
      this.spools.map((spool) => sealInline(spool, Buffer.from(`${text} of ${spool.journal}`))),
    );
  }

  get files(): string[] {
    try {
      return readdirSync(sealsDirIn(this.dir));
    } catch {
      return [];
    }
  }

  get syncs(): number {
    return this.fileSystem.calls.get('datasync') ?? 0;
  }

  async close(): Promise<void> {
    for (const spool of this.spools) await spool.close();
    await this.seals.close();
  }

  /** As it is on the disk after a power cut that took what the spools themselves had not synced. */
  async cutAt(t: TestContext, ends: readonly number[]): Promise<State> {
    const dir = await temporaryDirectory(t);
    await cp(this.dir, dir, { recursive: true });
    for (const [i, spool] of this.spools.entries()) {
      truncateSync(join(dir, 'spool', spool.journal, '0000000001.log'), ends[i]);
    }
    const fileSystem = new FaultyFileSystem();
    const seals = new SealLog(sealsDirIn(dir), { bootId: NEXT_BOOT, fileSystem });
    return new State(dir, seals, fileSystem);
  }
}

const NAMES = ['a', 'b', 'c', 'd'];

test('spools that seal at the same moment share one sync, and read their batches as ever', async (t) => {
  const state = await State.open(t, NAMES);
  await state.sealAll('first');
  assert.equal(state.syncs, 1);
  assert.equal(state.files.length, 1);
  for (const spool of state.spools) {
    assert.equal((await payloadOf(spool, 1)).toString(), `first of ${spool.journal}`);
  }
  await state.close();
  assert.deepEqual(state.files, [], 'a stop syncs the logs and frees the file');
});

test('one that seals alone syncs its own log, and writes no copy', async (t) => {
  const state = await State.open(t, NAMES);
  const [a] = state.spools as [Spool];
  await sealInline(a, Buffer.from('alone'));
  assert.equal(state.syncs, 1);
  assert.deepEqual(state.files, []);
  await state.close();
});

test('what a power cut took from the logs of the spools is taken from the copies', async (t) => {
  const state = await State.open(t, NAMES);
  const ends = state.spools.map((spool) => spool.bytesOnDisk);
  await state.sealAll('first');
  await Promise.all(state.spools.map((spool) => spool.recordAck('r', 1)));
  await state.sealAll('second');
  const later = await state.cutAt(t, ends);
  await state.close();
  for (const name of NAMES) {
    const spool = await later.spool(name, NEXT_BOOT);
    assert.equal(spool.lastSequence, 2);
    assert.equal(spool.route('r')?.acked, 0, 'an ack may be lost');
    assert.equal((await payloadOf(spool, 1)).toString(), `first of ${name}`);
    assert.equal((await payloadOf(spool, 2)).toString(), `second of ${name}`);
    assert.equal(spool.batch(2)?.bootId, BOOT);
    const { chainHead } = spool;
    await spool.close();
    const again = await later.spool(name, NEXT_BOOT);
    assert.equal(again.lastSequence, 2, 'nothing is taken twice');
    assert.equal(again.chainHead, chainHead);
    await sealInline(again, Buffer.from('third'));
    assert.equal(again.lastSequence, 3);
    await again.close();
  }
  assert.deepEqual(await later.seals.freeLeft(), []);
  assert.deepEqual(later.files, []);
  await later.seals.close();
});

test('a file stays until every spool has what is in it', async (t) => {
  const state = await State.open(t, NAMES);
  const ends = state.spools.map((spool) => spool.bytesOnDisk);
  await state.sealAll('first');
  const later = await state.cutAt(t, ends);
  await state.close();
  for (const name of NAMES.slice(1)) await (await later.spool(name, NEXT_BOOT)).close();
  await later.seals.freeLeft();
  assert.equal(later.files.length, 1);
  const last = await later.spool('a', NEXT_BOOT);
  assert.equal((await payloadOf(last, 1)).toString(), 'first of a');
  await last.close();
  await later.seals.freeLeft();
  assert.deepEqual(later.files, []);
  await later.seals.close();
});

test('a spool that was moved away, and one that began anew in its place, need no copies', async (t) => {
  const state = await State.open(t, NAMES);
  const ends = state.spools.map((spool) => spool.bytesOnDisk);
  await state.sealAll('first');
  const later = await state.cutAt(t, ends);
  await state.close();
  for (const name of ['a', 'b']) {
    renameSync(join(later.dir, 'spool', name), join(later.dir, `${name}-moved`));
  }
  const fresh = await later.spool('b', NEXT_BOOT);
  assert.equal(fresh.lastSequence, 0);
  await fresh.addRoute('r', { after: 0 });
  await fresh.close();
  for (const name of ['c', 'd']) await (await later.spool(name, NEXT_BOOT)).close();
  await later.seals.freeLeft();
  assert.deepEqual(later.files, []);
  await later.seals.close();
});

test('files of a process that lives are left alone', async (t) => {
  const state = await State.open(t, NAMES);
  await state.sealAll('first');
  const other = new SealLog(sealsDirIn(state.dir), { bootId: BOOT });
  assert.deepEqual(await other.freeLeft(), []);
  assert.equal(state.files.length, 1);
  await other.close();
  await state.close();
});

test('a full file is freed as soon as the logs are synced, and the next one is begun', async (t) => {
  const state = await State.open(t, NAMES, { fileBytes: 3_000 });
  const seen = new Set<string>();
  for (let n = 1; n <= 12; n += 1) {
    await state.sealAll(`batch ${n}`);
    for (const file of state.files) seen.add(file);
    assert.ok(state.files.length <= 3, 'they do not pile up');
  }
  assert.ok(seen.size >= 3, `${seen.size} files`);
  await state.close();
  assert.deepEqual(state.files, []);
});

test('a sync that fails seals nothing: all are told, and the same is sealed in a new file', async (t) => {
  const state = await State.open(t, NAMES);
  await state.sealAll('first');
  const [before] = state.files;
  state.fileSystem.arm({ operation: 'datasync', at: 1, code: 'EIO' });
  const results = await Promise.allSettled(
    state.spools.map((spool) => sealInline(spool, Buffer.from('never'))),
  );
  for (const result of results) {
    assert.equal(result.status, 'rejected');
    assert.equal((result.reason as { code: string }).code, 'SPOOL_WRITE_FAILED');
  }
  state.fileSystem.arm(undefined);
  for (const spool of state.spools) assert.equal(spool.lastSequence, 1);
  await state.sealAll('second');
  for (const spool of state.spools) {
    assert.equal((await payloadOf(spool, 2)).toString(), `second of ${spool.journal}`);
  }
  assert.ok(
    state.files.every((file) => file !== before) || state.files.length > 1,
    'the tail that could not be synced is not written to again',
  );
  await state.close();
  for (const name of NAMES) {
    const spool = await state.spool(name, BOOT);
    assert.equal(spool.lastSequence, 2);
    await spool.close();
  }
});

test('a batch that is sealed once more, since its journal grew, is restored as it was sealed last', async (t) => {
  const state = await State.open(t, ['a'], { shareFrom: 1 });
  const [a] = state.spools as [Spool];
  const end = a.bytesOnDisk;
  for (const text of ['short', 'short and long']) {
    const payload = Buffer.from(text);
    const bytes = payload.length;
    await a.seal({ sequence: 1, bytes, sha256: sha256(payload), inode: 1, payload });
  }
  a.publish();
  const whole = await readFile(join(a.dir, '0000000001.log'));
  const secondSeal = whole.lastIndexOf('JFR1');
  for (const cut of [end, secondSeal]) {
    const later = await state.cutAt(t, [cut]);
    for (let opened = 0; opened < 2; opened += 1) {
      const spool = await later.spool('a', NEXT_BOOT);
      assert.equal(spool.lastSequence, 1);
      assert.equal((await payloadOf(spool, 1)).toString(), 'short and long');
      await spool.close();
    }
    await later.seals.close();
  }
  await state.close();
});

test('a torn end of a file is nothing; what was durable and cannot be read is said, and kept', async (t) => {
  const state = await State.open(t, NAMES);
  await state.sealAll('first');
  await state.sealAll('second');
  const [name = ''] = state.files;
  const content = await readFile(join(sealsDirIn(state.dir), name));
  await state.close();
  const again = await State.open(t, []);
  mkdirSync(sealsDirIn(again.dir));
  const path = join(sealsDirIn(again.dir), name);

  writeFileSync(path, content.subarray(0, content.length - 3));
  assert.deepEqual(await again.seals.freeLeft(), []);
  assert.deepEqual(again.files, []);

  const flipped = Buffer.from(content);
  flipped[60] = (flipped[60] ?? 0) ^ 1;
  writeFileSync(path, flipped);
  assert.deepEqual(await again.seals.freeLeft(), [name]);
  assert.deepEqual(again.files, [name]);
  await again.close();
});

test('captures of many journals at once come to the same as one by one', async (t) => {
  const state = await State.open(t, NAMES);
  const captures = state.spools.map((spool) => {
    const path = join(state.dir, `${spool.journal}.journal`);
    return new JournalCapture({ spool, path, diskFloorBytes: 0 });
  });
  for (let n = 1; n <= 5; n += 1) {
    for (const { path } of captures) writeFileSync(path, `commit ${n}`);
    const outcomes = await Promise.all(captures.map((capture) => capture.capture()));
    assert.ok(outcomes.every((outcome) => 'captured' in outcome));
  }
  for (const spool of state.spools) {
    assert.equal(spool.lastSequence, 5);
    assert.equal((await payloadOf(spool, 3)).toString(), 'commit 3');
  }
  assert.equal(state.files.length, 1);
  for (const capture of captures) await capture.close();
  await state.close();
});

/** @returns the sequence through which every spool has sealed for sure, and the signal */
async function sealers(
  dir: string,
  bootId: string,
  rounds: number,
  crashAt: string,
): Promise<{ sealed: number; signal: NodeJS.Signals | null }> {
  const args = [fileURLToPath(new URL('sealers.js', import.meta.url)), dir, bootId, `${rounds}`];
  const child = spawn(process.execPath, [...args, ...NAMES], {
    env: { ...process.env, FERRY_CRASH_AT: crashAt },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [, signal] = (await once(child, 'close')) as [number, NodeJS.Signals | null];
  return { sealed: Number(said.trim().split('\n').at(-1)), signal };
}

for (const point of ['seals.synced', 'seals.freed']) {
  test(`a process killed at ${point} leaves what the next one needs, in this boot or another`, async (t) => {
    for (const boot of [BOOT, NEXT_BOOT]) {
      const dir = await temporaryDirectory(t);
      mkdirSync(join(dir, 'spool'));
      const killed = await sealers(dir, BOOT, 20, point);
      assert.equal(killed.signal, 'SIGKILL');
      const { sealed, signal } = await sealers(dir, boot, 2, '');
      assert.equal(signal, null);
      assert.ok(sealed >= killed.sealed + 2);
      assert.deepEqual(readdirSync(sealsDirIn(dir)), []);
      for (const journal of NAMES) {
        const spool = await Spool.open(join(dir, 'spool', journal), { journal, bootId: boot });
        for (let n = 1; n <= sealed; n += 1) {
          assert.equal((await payloadOf(spool, n)).toString(), `${n} of ${journal}`);
        }
        await spool.close();
      }
    }
  });
}

test('a process killed at seals.taken has taken its copies once', async (t) => {
  const state = await State.open(t, NAMES);
  const ends = state.spools.map((spool) => spool.bytesOnDisk);
  for (const text of ['1', '2', '3']) await state.sealAll(text);
  const later = await state.cutAt(t, ends);
  await state.close();
  assert.equal((await sealers(later.dir, NEXT_BOOT, 1, 'seals.taken:2')).signal, 'SIGKILL');
  const { sealed, signal } = await sealers(later.dir, NEXT_BOOT, 1, '');
  assert.equal(signal, null);
  assert.equal(sealed, 4);
  for (const journal of NAMES) {
    const spool = await later.spool(journal, NEXT_BOOT);
    assert.equal((await payloadOf(spool, 3)).toString(), `3 of ${journal}`);
    assert.equal((await payloadOf(spool, 4)).toString(), `4 of ${journal}`);
    await spool.close();
  }
  assert.deepEqual(later.files, []);
  await later.seals.close();
});
