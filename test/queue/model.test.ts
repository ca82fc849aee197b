import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LEASE_MS } from '../../src/queue/routeOrder.js';
import { failOnLeaks } from '../support/leaks.js';
import { openQueueFixture } from './helpers.js';
import { BlobRun, blobSteps } from './modelBlobs.js';
import { JobBench, jobSteps } from './modelJobs.js';
import { maxAttempts, RouteRun, type Step, steps } from './modelSteps.js';

const q = await openQueueFixture();
// Durability is not what is tested here, and a sync per step would be most of the time.
await q.data.config('SET', 'appendfsync', 'no');
const bench = new JobBench(q);
q.closing.push(() => bench.close());
failOnLeaks();

/** `FERRY_MODEL_ROUNDS=20 npm test -- queue/model` tries so many times as many orders. */
const ROUNDS = Number(process.env['FERRY_MODEL_ROUNDS'] ?? 1);

let routes = 0;

async function runRoute(all: readonly Step[], finish: boolean): Promise<void> {
  routes += 1;
  const route = new RouteRun(q, `r${routes}`);
  try {
    await route.run(all);
    if (finish) await route.finish();
  } finally {
    await route.forget();
  }
}

describe('a route, whatever happens in whatever order', () => {
  it('answers as its scripts promise, and lets the wire see every batch in order', async () => {
    await fc.assert(fc.asyncProperty(steps, fc.boolean(), runRoute), { numRuns: 500 * ROUNDS });
  });

  // Once in some thousand random orders. Somebody retries a blocked batch by a click, while its
  // skip is in the spool and not yet in Redis: it comes directly behind itself.
  it('lets a batch be retried that is given up at a block which Redis came back with', async () => {
    const failure = { resend: true, counted: true, uncertain: false, echoed: false };
    const begin: Step = { do: 'begin', offset: 0, generation: 0 };
    const who = { who: 0, offset: 0, generation: 0 };
    await runRoute(
      [
        { do: 'look', maxAttempts: 1 },
        { do: 'feed', record: true },
        begin,
        { do: 'fail', failure, ...who },
        { do: 'snapshot' },
        { do: 'lose', how: 'since the snapshot' },
        { do: 'look', maxAttempts: 1 },
        { do: 'skip', killed: true },
        { do: 'pass', ms: LEASE_MS },
        begin,
      ],
      true,
    );
  });
});

describe('the blobs of a route, whatever happens in whatever order', () => {
  it('follow their batch, one send per link at a time, no version twice', async () => {
    await fc.assert(
      fc.asyncProperty(blobSteps, (all) => new BlobRun(q).run(all)),
      { numRuns: 150 * ROUNDS },
    );
  });
});

describe('the job of the head, whatever is clicked and whoever is killed', () => {
  it('is awake after a look, and all that was accepted comes over', async () => {
    await fc.assert(
      fc.asyncProperty(jobSteps, maxAttempts, (all, limit) => bench.run(all, limit)),
      { numRuns: 300 * ROUNDS },
    );
  });

  // The repeat of the batch before is answered, and then the destination dies while it applies it:
  // that batch is still owed.
  it('sends a repeat that was answered and broke off once more', async () => {
    await fc.assert(
      fc.asyncProperty(jobSteps, (all) => bench.run(all, 0, { judgeRepeats: true })),
      { numRuns: 400 * ROUNDS },
    );
  });
});
