import { pileUp } from '../harness/backlog.js';
import {
  atLeast,
  type Comparison,
  interleaved,
  medianRatio,
  medians,
  type Sample,
} from '../harness/comparison.js';
import { type Bench, msBetween } from '../harness/lab.js';
import { bareClient } from './blobs.js';

const ARRIVAL_MS = 300_000;
const CONNECTIONS = 8;

/** Batches per second, from the first arrival to the last, with so many worker processes. */
async function drained(
  bench: Bench,
  routes: number,
  perRoute: number,
  workers: number,
): Promise<Sample> {
  const sink = await bench.sink();
  const { batches } = await pileUp(bench, routes, perRoute, {
    port: sink.port,
    bytes: 1_024,
    destination: `connections: ${CONNECTIONS}`,
  });
  await Promise.all(Array.from({ length: workers }, () => bench.ferry('worker')));
  const arrivals = await sink.until(
    `${batches} batches arrived`,
    ({ length }) => length >= batches,
    ARRIVAL_MS,
  );
  const ms = msBetween(arrivals[0]?.atNs ?? 0n, arrivals.at(-1)?.atNs ?? 0n);
  return { 'batches/s': (batches / ms) * 1_000 };
}

export const oldWire: Comparison = {
  name: 'old-wire',
  title: 'Draining a backlog over the wire of PicoLisp',
  text: `Small batches on many routes to one destination, one TLS connection each. The bare client opens as many connections at a time (${CONNECTIONS}), resumes their sessions, and does nothing else.`,
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const [routes, perRoute] = quick ? [50, 4] : [1_000, 16];
    const samples = await interleaved(
      rounds,
      {
        ours: () => lab.measure((bench) => drained(bench, routes, perRoute, 1)),
        'bare client': () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            const count = routes * perRoute;
            const seconds = await bareClient(bench, sink, count, CONNECTIONS, 'batch');
            return { 'batches/s': count / seconds };
          }),
      },
      lab.say,
    );
    return {
      tables: [medians(samples, ['batches/s'])],
      verdicts: [
        atLeast(
          `${routes} routes over the old wire, against a bare client`,
          medianRatio(samples.ours, samples['bare client'], 'batches/s'),
          0.8,
          'x',
        ),
      ],
    };
  },
};

export const workers: Comparison = {
  name: 'workers',
  title: 'More worker processes',
  text: 'The same backlog over the same wire, with one, two and four worker processes on this machine, which also runs Redis and the far side.',
  rounds: 2,
  async run(lab, { rounds, quick }) {
    const [routes, perRoute] = quick ? [50, 4] : [500, 16];
    const samples = await interleaved(
      rounds,
      {
        '1': () => lab.measure((bench) => drained(bench, routes, perRoute, 1)),
        '2': () => lab.measure((bench) => drained(bench, routes, perRoute, 2)),
        '4': () => lab.measure((bench) => drained(bench, routes, perRoute, 4)),
      },
      lab.say,
    );
    return {
      tables: [medians(samples, ['batches/s'], 'worker processes')],
      verdicts: [],
    };
  },
};
