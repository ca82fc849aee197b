import { freePort } from '../../test/support/freePort.js';
import { Pile } from '../harness/backlog.js';
import type { Comparison, Sample } from '../harness/comparison.js';
import { interleaved, medianOf, round } from '../harness/comparison.js';
import { serverCpuSeconds } from '../harness/cpu.js';
import type { Bench, Lab } from '../harness/lab.js';
import { touchMemory } from '../harness/memory.js';
import { runOne, secondsToShip } from '../harness/shipped.js';
import type { Table } from '../harness/table.js';

const DRAIN_MS = 600_000;
const MIB = 1024 * 1024;

/** Sent before, so that everything that is measured meets code that is compiled. */
const WARM = { routes: 100, perRoute: 20 };
/** What piles up takes minutes, and each point is a check of its neighbours. */
const ONCE = 1;

/** Confirmed batches that are counted; behind so many more of them say nothing new. */
const COUNTED_MAX = 10_000;

/**
 * What one batch costs of a backlog whose far side confirms at once. The worker has sent others
 * before and stands still while these pile up.
 */
async function costOf(bench: Bench, routes: number, perRoute: number): Promise<Sample> {
  const pile = await Pile.open(bench, { port: await freePort(), destination: 'connections: 64' });
  const warm = await pile.up('w', WARM.routes, WARM.perRoute);
  const counted = Math.min(COUNTED_MAX, routes * perRoute);
  const words = [bench.path('ferry.yaml'), `${warm.batches}`, `${counted}`];
  const worker = bench.program('confirmingWorker', words);
  await worker.line(/"part":1,/, DRAIN_MS);
  worker.signal('SIGSTOP');
  await pile.up('j', routes, perRoute);
  const before = await serverCpuSeconds(pile.redis);
  const begun = performance.now();
  worker.signal('SIGCONT');
  const [, cpu] = await worker.line(/"part":2,.*"cpuSeconds":([\d.]+)/, DRAIN_MS);
  const ms = performance.now() - begun;
  const redisCpu = (await serverCpuSeconds(pile.redis)) - before;
  return {
    'ms per batch': ms / counted,
    'worker’s CPU, ms per batch': (Number(cpu) * 1_000) / counted,
    'Redis’s CPU, ms per batch': (redisCpu * 1_000) / counted,
  };
}

/** Seconds from a journal of this size to the `T`. */
async function shipped(bench: Bench, bytes: number): Promise<Sample> {
  const sink = await bench.sink();
  const foo = bench.path('fifo', 'foo');
  const seconds = await secondsToShip(await runOne(bench, sink), sink, foo, bytes);
  return { s: seconds, 'ms per MiB': (seconds * 1_000 * MIB) / bytes };
}

async function series(
  lab: Lab,
  rounds: number,
  what: { title: string; head: string; values: readonly number[] },
  measure: (bench: Bench, value: number) => Promise<Sample>,
): Promise<Table> {
  const contenders = Object.fromEntries(
    what.values.map((value) => [`${value}`, () => lab.measure((bench) => measure(bench, value))]),
  );
  const samples: Record<string, Sample[]> = await interleaved(rounds, contenders, (line) =>
    lab.say(`${what.head}, ${line}`),
  );
  const figures = Object.keys(Object.values(samples)[0]?.[0] ?? {});
  const rows = what.values.map((value) => [
    value.toLocaleString('en-US'),
    ...figures.map((figure) => round(medianOf(samples[value] ?? [], figure))),
  ]);
  return { title: what.title, heads: [what.head, ...figures], rows };
}

export const growth: Comparison = {
  name: 'growth',
  title: 'What grows with what',
  text: `The cost of one batch, without the wire, against the number of routes and against the number of batches that wait; and the time of one batch over the wire against its size. The worker has confirmed ${WARM.routes * WARM.perRoute} others before. Where few batches wait the time is how long one takes, and not what it costs: a route sends one at a time, so a single route waits for each sync, and 64 connections share them; the worker, asleep, has to be woken for the first one; and what BullMQ does now and then comes on top of few. From there on the processor time per batch should stay as it is, up to logarithms: every set of BullMQ's is a sorted one. Of more than ${COUNTED_MAX.toLocaleString('en-US')} batches the first so many are counted, while the others wait. A large batch takes a constant (two processes hear of it, three syncs) and then so much for each MiB. Only this last table is measured in several rounds.`,
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const routes = await series(
      lab,
      ONCE,
      {
        title: 'Routes, ten batches each',
        head: 'routes',
        values: quick ? [1, 10] : [1, 10, 100, 1_000, 10_000],
      },
      (bench, value) => costOf(bench, value, 10),
    );
    const depth = await series(
      lab,
      ONCE,
      {
        title: 'Batches that wait, on ten routes together (a single one on one)',
        head: 'batches',
        values: quick ? [1, 100] : [1, 10, 100, 1_000, 10_000, 100_000],
      },
      (bench, value) => costOf(bench, Math.min(10, value), Math.ceil(value / 10)),
    );
    if (!quick) await touchMemory(lab);
    const size = await series(
      lab,
      rounds,
      {
        title: 'Size of a batch',
        head: 'MiB',
        values: quick ? [1, 4] : [1, 4, 16, 64, 256, 1_024],
      },
      (bench, mib) => shipped(bench, mib * MIB),
    );
    return { tables: [routes, depth, size], verdicts: [] };
  },
};
