/**
 * Every call of a receiver's stores fails in turn, once and from there on. Nothing is answered `T`
 * that is not stored, it goes on when the fault is over, and a power cut right behind it takes
 * nothing. Where an index can no longer be trusted, a restart is what the receiver asks for.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  everyFault,
  type Fault,
  FaultyFileSystem,
  isOneOfEach,
  nameOf,
  type Operation,
} from '../support/faultyFileSystem.js';
import { failOnLeaks } from '../support/leaks.js';
import { memoryDir } from '../support/tempDir.js';
import { LARGE_BYTES, ReceiverProcess, ReceiverWorld } from './receiver.js';
import { cutAndCheckReceiver } from './receiverLives.js';
import { ROUNDS } from './rounds.js';

const below = memoryDir();
failOnLeaks();

/** Batches and blobs, new ones, and a second version; two at once share a commit. */
async function steps(receiver: ReceiverProcess): Promise<void> {
  await receiver.batch('one', 100);
  await Promise.all([receiver.batch('one', 9000), receiver.batch('two', 40)]);
  await receiver.blob('a/x', 100);
  await Promise.all([receiver.blob('a/x', 50), receiver.blob('a/b/y', 9000)]);
  await receiver.settle();
  await receiver.batch('one', LARGE_BYTES);
  await receiver.batch('one', 60);
}

function start(): { world: ReceiverWorld; disk: FaultyFileSystem; receiver: ReceiverProcess } {
  const world = ReceiverWorld.fresh(below);
  let disk = new FaultyFileSystem();
  const receiver = new ReceiverProcess(world, undefined, (process) => {
    disk = new FaultyFileSystem({
      inner: process,
      onFailedSync: (handle) => process.spoil(handle),
    });
    return disk;
  });
  return { world, disk, receiver };
}

async function judge(fault: Fault): Promise<void> {
  const { world, disk, receiver } = start();
  disk.arm(fault);
  let happened = false;
  const over = () => {
    happened ||= disk.hit;
    disk.arm(undefined);
  };
  receiver.tolerant = true;
  await receiver.live(async () => {
    await steps(receiver);
    over();
    assert.ok(happened, 'it has happened');
    // Each sender comes again, and then with something new.
    receiver.failed = 0;
    await steps(receiver);
    if (receiver.broken) return;
    assert.equal(receiver.failed, 0, 'it does not go on');
    assert.deepEqual(readdirSync(join(world.folder, 'tmp')), []);
  }, over);
  assert.equal(disk.openHandles, 0, 'files left open');
  if (receiver.broken) {
    // It said so, and took nothing; a restart is what it asks for.
    await new ReceiverProcess(world).live(steps);
    assert.deepEqual(readdirSync(join(world.folder, 'tmp')), []);
  }
  await cutAndCheckReceiver(world, world.disk.now, 'nothing', 'fault');
  world.remove();
}

test('a fault at any call of the stores loses, doubles and confirms nothing wrongly', async (t) => {
  const clean = start();
  let calls: ReadonlyMap<Operation, number> = new Map();
  await clean.receiver.live(async (receiver) => {
    await steps(receiver);
    calls = new Map(clean.disk.calls);
  });
  let tried = 0;
  for (const fault of everyFault(calls)) {
    if (ROUNDS === 1 && !isOneOfEach(fault)) continue;
    tried += 1;
    await judge(fault).catch((error: unknown) => {
      throw new Error(`${nameOf(fault)}: ${error instanceof Error ? error.stack : error}`);
    });
  }
  t.diagnostic(`${tried} faults`);
});
