import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { memoryDir } from '../support/tempDir.js';
import { ReceiverProcess, ReceiverWorld, receiverSteps } from './receiver.js';
import { cutAndCheckReceiver, someReceiverLives, wholeReceiverLife } from './receiverLives.js';
import { moments, ROUNDS } from './rounds.js';

const below = memoryDir();
failOnLeaks();

const CUTS = 40;
const LIVES = 10;

test('a power cut at any moment takes nothing that a receiver has confirmed', async () => {
  const { world } = await wholeReceiverLife(below);
  for (const { tick, mood, seed } of moments(world.disk.now, CUTS)) {
    await cutAndCheckReceiver(world, tick, mood, seed);
  }
});

test('kills and power cuts, one after the other, take nothing that was confirmed', async () => {
  for (let seed = 1; seed <= LIVES * ROUNDS; seed += 1) await someReceiverLives(below, `${seed}`);
});

/**
 * The batch was in the intake, in the page cache only. The successor read it, took the sender's repeat for
 * known and answered `T`; then the power went, and the batch with it.
 */
test('what a killed receiver had not synced is durable before its successor answers for it', async () => {
  const world = ReceiverWorld.fresh(below);
  const first = (receiver: ReceiverProcess) => receiver.batch('one', 100, 1);
  await new ReceiverProcess(world, 'segment append datasync').live(first);
  assert.equal(world.stream('one').confirmed.length, 0);
  await new ReceiverProcess(world).live(first);
  assert.equal(world.stream('one').confirmed.length, 1);
  await cutAndCheckReceiver(world, world.disk.now, 'nothing', 'repeat');
});

/** The app's folder was there, so its name was taken for durable; all that it held went with it. */
test('a folder that a killed receiver had made keeps its name in a power cut', async () => {
  const world = ReceiverWorld.fresh(below);
  await new ReceiverProcess(world, 'dataFolder makeFolder syncDirectory').live(receiverSteps);
  await new ReceiverProcess(world).live(receiverSteps);
  await cutAndCheckReceiver(world, world.disk.now, 'nothing', 'folder');
});

/** The same below `blobs/`: the second blob found the first one's folder there. */
test('a blob’s folder keeps its name, whoever has made it', async () => {
  const killed = ReceiverWorld.fresh(below);
  const blob = (receiver: ReceiverProcess) => receiver.blob('a/b/x', 100);
  await new ReceiverProcess(killed, 'blobStore #makeDurable syncDirectory').live(blob);
  await new ReceiverProcess(killed).live(blob);
  assert.equal(killed.blob('a/b/x').confirmed.length, 1);
  await cutAndCheckReceiver(killed, killed.disk.now, 'nothing', 'killed');

  // At once: one makes the folder, and each is confirmed at a moment of its own.
  const both = ReceiverWorld.fresh(below);
  await new ReceiverProcess(both).live(async (receiver) => {
    await Promise.all([receiver.blob('a/x', 100), receiver.blob('a/y', 20_000)]);
  });
  for (let tick = 0; tick <= both.disk.now; tick += 1) {
    await cutAndCheckReceiver(both, tick, 'nothing', 'both');
  }
});
