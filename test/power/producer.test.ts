import { test } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';
import { MOODS } from './cut.js';
import { cutAndCheck, someLives, VARIANTS, wholeLife } from './producerLives.js';

const below = tempDir();
failOnLeaks();

for (const variant of VARIANTS) {
  test(`a power cut at any moment loses and doubles nothing: ${variant.name}`, async () => {
    const { world } = await wholeLife(below, variant);
    for (let tick = 0; tick <= world.disk.now; tick += 1) {
      // Every mood has its turn at every place, over the ticks around it.
      const mood = MOODS[tick % MOODS.length] ?? 'random';
      await cutAndCheck(world, tick, mood, `${tick}`);
    }
  });
}
for (const variant of VARIANTS) {
  test(`kills and power cuts one after the other lose and double nothing: ${variant.name}`, async () => {
    const n = Number(process.env['N'] ?? 20);
    for (let seed = 1; seed <= n; seed += 1) await someLives(below, variant, `${seed}`);
  });
}
