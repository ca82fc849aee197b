import { freePort } from '../../test/support/freePort.js';
import { pileUp } from '../harness/backlog.js';
import type { Comparison } from '../harness/comparison.js';
import { round } from '../harness/comparison.js';
import type { Bench } from '../harness/lab.js';
import { runOne, secondsToShip } from '../harness/shipped.js';
import type { Table } from '../harness/table.js';

const DRAIN_MS = 600_000;
const MIB = 1024 * 1024;

/** Milliseconds per batch of a backlog whose far side confirms at once. */
async function msPerBatch(bench: Bench, routes: number, perRoute: number): Promise<number> {
  const { batches } = await pileUp(bench, routes, perRoute, {
    port: await freePort(),
    destination: 'connections: 64',
  });
  const words = [bench.path('ferry.yaml'), String(batches)];
  const worker = bench.program('confirmingWorker', words);
  const [, seconds] = await worker.line(/"seconds":([\d.]+)/, DRAIN_MS);
  return (Number(seconds) * 1_000) / batches;
}

/** Seconds from a journal of this size to the `T`. */
async function secondsOf(bench: Bench, bytes: number): Promise<number> {
  const sink = await bench.sink();
  return secondsToShip(await runOne(bench, sink), sink, bench.path('fifo', 'foo'), bytes);
}

export const growth: Comparison = {
  name: 'growth',
  title: 'What grows with what',
  text: 'The cost of one batch, without the wire, against the number of routes and against the number of batches that wait on each; and the time of one batch over the wire against its size.',
  rounds: 1,
  async run(lab, { quick }) {
    const table = async (
      title: string,
      head: string,
      unit: string,
      values: readonly number[],
      measure: (bench: Bench, value: number) => Promise<number>,
    ): Promise<Table> => {
      const rows: string[][] = [];
      for (const value of values) {
        const cost = await lab.measure((bench) => measure(bench, value));
        lab.say(`${title}: ${value}: ${round(cost)} ${unit}`);
        rows.push([value.toLocaleString('en-US'), round(cost)]);
      }
      return { title, heads: [head, unit], rows };
    };
    return {
      tables: [
        await table(
          'Routes, ten batches each',
          'routes',
          'ms per batch',
          quick ? [1, 10] : [1, 10, 100, 1_000, 10_000],
          (bench, routes) => msPerBatch(bench, routes, 10),
        ),
        await table(
          'Batches that wait, ten routes',
          'batches per route',
          'ms per batch',
          quick ? [1, 10] : [1, 10, 100, 1_000],
          (bench, depth) => msPerBatch(bench, 10, depth),
        ),
        await table(
          'Size of a batch',
          'MiB',
          's',
          quick ? [1, 4] : [1, 4, 16, 64, 256, 1_024],
          (bench, mib) => secondsOf(bench, mib * MIB),
        ),
      ],
      verdicts: [],
    };
  },
};
