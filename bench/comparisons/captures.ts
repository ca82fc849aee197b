import { freePort } from '../../test/support/freePort.js';
import { atLeast, type Comparison, interleaved, medianOf, medians } from '../harness/comparison.js';

const RECORD_BYTES = 200;

export const captures: Comparison = {
  name: 'captures',
  title: 'Captures of small batches',
  text: 'One producer, many journals, commits of 200 bytes under the lock, round and round, faster than it can take them; the destination is dead, of each route one batch is in Redis, and each commit may be a batch of its own (`flush.maxBytes: 1B`). Every capture is sealed with a sync before its journal is truncated; journals share a sync where they can. Writers, producer and Redis share the machine.',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const journals = quick ? 100 : 1_000;
    const commits = quick ? 2_000 : 60_000;
    const samples = await interleaved(
      rounds,
      {
        ours: () =>
          lab.measure(async (bench) => {
            const [dead, metrics] = [await freePort(), await freePort()];
            bench.configure({
              ports: { replica: dead },
              journals: [
                'match: fifo/*, to: replica, interval: 60s, flush: {maxBytes: 1B}, limits: {ahead: 1}',
              ],
              more: `metrics: {listen: 127.0.0.1:${metrics}}`,
            });
            await bench.commits(journals, journals, RECORD_BYTES);
            await bench.ferry('producer');
            const captured = (): Promise<number> =>
              bench.metric(metrics, 'ferry_captured_batches_total');
            await bench.until('every journal was captured once', async () => {
              return (await captured()) >= journals;
            });
            const before = await captured();
            const seconds = await bench.commits(journals, commits, RECORD_BYTES);
            const batches = (await captured()) - before;
            return { 'captures/s': batches / seconds, 'commits/s': commits / seconds };
          }),
      },
      lab.say,
    );
    return {
      tables: [medians({ [`${journals} journals`]: samples.ours }, ['captures/s', 'commits/s'])],
      verdicts: [
        atLeast(
          `captures of 200 bytes, ${journals} journals`,
          medianOf(samples.ours, 'captures/s'),
          5_000,
          '/s',
        ),
      ],
    };
  },
};
