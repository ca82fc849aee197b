import { test } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';
import { MOODS } from './cut.js';
import { cutAndCheckReceiver, someReceiverLives, wholeReceiverLife } from './receiverLives.js';

const below = tempDir();
failOnLeaks();

test('a power cut at any moment takes nothing that a receiver has confirmed', async () => {
  const { world } = await wholeReceiverLife(below);
  for (let tick = 0; tick <= world.disk.now; tick += 1) {
    const mood = MOODS[tick % MOODS.length] ?? 'random';
    await cutAndCheckReceiver(world, tick, mood, `${tick}`);
  }
});

test('kills and power cuts one after the other take nothing that was confirmed', async () => {
  const n = Number(process.env['N'] ?? 20);
  for (let seed = 1; seed <= n; seed += 1) await someReceiverLives(below, `${seed}`);
});
