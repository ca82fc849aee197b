import { freePort } from '../../test/support/freePort.js';
import { pileUp } from '../harness/backlog.js';
import { atLeast, type Comparison, interleaved, medianOf, medians } from '../harness/comparison.js';

const DRAIN_MS = 300_000;

export const drain: Comparison = {
  name: 'drain',
  title: 'Draining a backlog, without the wire',
  text: 'Small batches that wait in Redis on many routes, and one worker whose far side confirms everything at once: what BullMQ, the order of the routes and their syncs cost by themselves. Redis and the worker share the machine; nobody captures meanwhile.',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const [routes, perRoute] = quick ? [50, 4] : [1_000, 10];
    const samples = await interleaved(
      rounds,
      {
        ours: () =>
          lab.measure(async (bench) => {
            const backlog = await pileUp(bench, routes, perRoute, {
              port: await freePort(),
              destination: 'connections: 64',
            });
            const worker = bench.program('confirmingWorker', [
              bench.path('ferry.yaml'),
              String(backlog.batches),
            ]);
            const [, seconds] = await worker.line(/"seconds":([\d.]+)/, DRAIN_MS);
            return { 'batches/s': backlog.batches / Number(seconds) };
          }),
      },
      lab.say,
    );
    const rate = medianOf(samples.ours, 'batches/s');
    return {
      tables: [medians({ [`${routes} routes`]: samples.ours }, ['batches/s'])],
      verdicts: [atLeast(`drain of ${routes} routes, without the wire`, rate, 3_000, '/s')],
    };
  },
};
