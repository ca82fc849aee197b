import { freePort } from '../../test/support/freePort.js';
import { Pile } from '../harness/backlog.js';
import {
  atLeast,
  type Comparison,
  interleaved,
  medianOf,
  medians,
  round,
  type Sample,
} from '../harness/comparison.js';
import { serverCpuSeconds } from '../harness/cpu.js';
import type { Bench, Lab } from '../harness/lab.js';
import type { Table } from '../harness/table.js';
import { capturing } from './captures.js';
import { overBothWires } from './wires.js';

const DRAIN_MS = 300_000;

/** As small as the batches of the other stages. */
const BYTES = 200;

/** Milliseconds of processor per batch, of our process and of the Redis. */
const [OURS, REDIS] = ['our CPU, ms per batch', 'Redis’s CPU, ms per batch'] as const;

async function openPile(bench: Bench): Promise<Pile> {
  return Pile.open(bench, { port: await freePort(), destination: 'connections: 64' });
}

/** Drained by a worker whose far side confirms at once. */
async function drained(bench: Bench, routes: number, perRoute: number): Promise<Sample> {
  const pile = await openPile(bench);
  const startCpu = await pile.startCpu();
  const { batches, acceptCpu } = await pile.up('j', routes, perRoute);
  const before = await serverCpuSeconds(pile.redis);
  const worker = bench.program('confirmingWorker', [bench.path('ferry.yaml'), `${batches}`]);
  const line = /"seconds":([\d.]+),"cpuSeconds":([\d.]+)/;
  const [, seconds, cpu] = await worker.line(line, DRAIN_MS);
  const redisCpu = (await serverCpuSeconds(pile.redis)) - before;
  const ms = (value: number): number => (value / batches) * 1_000;
  return {
    'batches/s': batches / Number(seconds),
    [OURS]: ms(Number(cpu)),
    [REDIS]: ms(redisCpu),
    [`accept: ${OURS}`]: ms(acceptCpu.producer - startCpu),
    [`accept: ${REDIS}`]: ms(acceptCpu.redis),
  };
}

/** `begin` and `ack` of as many batches, apart from each other and without BullMQ's worker. */
async function staged(bench: Bench, routes: number, perRoute: number): Promise<Sample> {
  const pile = await openPile(bench);
  await pile.up('j', routes, perRoute);
  const words = [bench.path('ferry.yaml'), pile.socket, `${routes}`, `${perRoute}`];
  const program = bench.program('stages', words);
  const [, text = ''] = await program.line(/^(\{"stages".*\})$/m, DRAIN_MS);
  const { stages } = JSON.parse(text) as {
    stages: Record<'begin' | 'ack', { seconds: number; cpu: number; redisCpu: number }>;
  };
  const figures: Record<string, number> = {};
  for (const [stage, { cpu, redisCpu }] of Object.entries(stages)) {
    figures[`${stage}: ${OURS}`] = cpu * 1_000;
    figures[`${stage}: ${REDIS}`] = redisCpu * 1_000;
  }
  return figures;
}

/** Where the time of a batch goes, from its commit to its end. */
async function perStage(
  lab: Lab,
  whole: readonly Sample[],
  parts: readonly Sample[],
  quick: boolean,
): Promise<Table> {
  const [journals, commits] = quick ? [50, 2_000] : [1_000, 20_000];
  const capture = await lab.measure((bench) => capturing(bench, journals, commits));
  const captureMs = capture['CPU of the producer, ms per capture'] ?? Number.NaN;
  const size = { bytes: BYTES, routes: quick ? 50 : 1_000, perRoute: quick ? 4 : 8 };
  const wires = await overBothWires(lab, size);
  const of = (samples: readonly Sample[], stage: string): [number, number] => [
    medianOf(samples, `${stage}${OURS}`),
    medianOf(samples, `${stage}${REDIS}`),
  ];
  const [begin, ack, all] = [of(parts, 'begin: '), of(parts, 'ack: '), of(whole, '')];
  const rest: [number, number] = [all[0] - begin[0] - ack[0], all[1] - begin[1] - ack[1]];
  const row = (stage: string, [mine, redis]: readonly [number, number | null], what: string) => [
    stage,
    round(mine),
    redis === null ? '' : round(redis),
    what,
  ];
  return {
    title: 'Where the time of a batch goes',
    heads: ['stage', OURS, REDIS, 'measured as'],
    rows: [
      row('capture', [captureMs, null], 'the producer of `captures`'),
      row(
        'accept',
        of(whole, 'accept: '),
        'a producer that finds sealed batches, less its start without any',
      ),
      row('job', rest, 'the drain above, less begin and ack: BullMQ fetches and completes'),
      row('begin', begin, '`begin` alone, 64 at once'),
      row('send, old wire', [wires.old, null], 'the sender of `wires`'),
      row('send, HTTP/2', [wires.h2, null], 'the sender of `wires`'),
      row('ack', ack, '`ack` and the promotion of the successor alone, 64 at once'),
    ],
  };
}

export const drain: Comparison = {
  name: 'drain',
  title: 'Draining a backlog, without the wire',
  text: 'Small batches that wait in Redis on many routes, and one worker whose far side confirms everything at once: what BullMQ, the order of the routes and their syncs cost by themselves. Redis and the worker share the machine; nobody captures meanwhile. The second table has every stage of a batch by itself, in the code that does it: processor time of our process, and of the Redis by its own account (`INFO cpu`).',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const [routes, perRoute] = quick ? [50, 4] : [1_000, 16];
    const samples = await interleaved(
      rounds,
      {
        ours: () => lab.measure((bench) => drained(bench, routes, perRoute)),
        'begin and ack': () => lab.measure((bench) => staged(bench, routes, perRoute)),
      },
      lab.say,
    );
    const rate = medianOf(samples.ours, 'batches/s');
    return {
      tables: [
        medians({ [`${routes} routes`]: samples.ours }, ['batches/s', OURS, REDIS]),
        await perStage(lab, samples.ours, samples['begin and ack'], quick),
      ],
      verdicts: [atLeast(`drain of ${routes} routes, without the wire`, rate, 3_000, '/s')],
    };
  },
};
