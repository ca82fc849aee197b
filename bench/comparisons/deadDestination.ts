import { freePort } from '../../test/support/freePort.js';
import { atMost, type Comparison, interleaved, medianOf, medians } from '../harness/comparison.js';
import { msBetween } from '../harness/lab.js';

const RECORD_BYTES = 200;
const ARRIVAL_MS = 120_000;

export const deadDestination: Comparison = {
  name: 'dead-destination',
  title: 'A destination that comes back',
  text: 'One journal, commits of 200 bytes while nobody listens at its destination; then the far side is there, at any moment of the retry interval of 2 s: from its first `T` to its last. Commits that find a batch of their route waiting gather in the journal, and go as one.',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const commits = quick ? 200 : 2_000;
    const samples = await interleaved(
      rounds,
      {
        ours: () =>
          lab.measure(async (bench) => {
            const port = await freePort();
            bench.configure({
              ports: { replica: port },
              journals: ['name: j1, path: fifo/j1, to: replica, interval: 2s'],
            });
            await bench.ferry('run');
            await bench.commits(1, commits, RECORD_BYTES, 1_000);
            const sink = await bench.sink(port);
            const bytes = commits * RECORD_BYTES;
            const arrivals = await sink.until(
              'all commits arrived',
              (all) => all.reduce((sum, one) => sum + one.bytes, 0) >= bytes,
              ARRIVAL_MS,
            );
            const last = arrivals.at(-1)?.atNs ?? 0n;
            return {
              'drained ms': msBetween(arrivals[0]?.atNs ?? last, last),
              batches: arrivals.length,
            };
          }),
      },
      lab.say,
    );
    const drained = medianOf(samples.ours, 'drained ms');
    return {
      tables: [medians({ [`${commits} commits`]: samples.ours }, ['drained ms', 'batches'])],
      verdicts: [atMost(`${commits} commits behind a dead destination`, drained, 1_000, ' ms')],
    };
  },
};
