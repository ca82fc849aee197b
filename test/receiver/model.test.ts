import { describe, it } from 'node:test';
import fc from 'fast-check';
import { failOnLeaks } from '../support/leaks.js';
import { tempDir } from '../support/tempDir.js';
import { type Step, StoreRun, steps } from './modelStore.js';

const below = tempDir();
failOnLeaks();

/** More than the digests that a store keeps in memory per stream. */
const MANY = 1_030;
const OLDEST: readonly Step[] = [
  { do: 'ship', what: 'again', back: MANY - 2 },
  { do: 'ship', what: 'again, other bytes', back: MANY - 2 },
];

async function run(all: readonly Step[], before: number): Promise<void> {
  const one = await StoreRun.open(below, before);
  try {
    await one.run(all);
  } finally {
    await one.close();
  }
}

describe('what a receiver holds, whatever senders and disks do', () => {
  it('is what was sent, without a gap, a double or a change of order', async () => {
    await fc.assert(
      fc.asyncProperty(steps, (all) => run(all, 0)),
      { numRuns: 150 },
    );
  });

  it('is known behind more batches than memory remembers', async () => {
    await fc.assert(
      fc.asyncProperty(steps, (all) => run([...OLDEST, ...all], MANY)),
      // A smaller counterexample would cost minutes.
      { numRuns: 2, endOnFailure: true },
    );
  });
});
