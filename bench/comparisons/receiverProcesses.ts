import {
  type Comparison,
  interleaved,
  medianRatio,
  medians,
  round,
  type Sample,
} from '../harness/comparison.js';
import type { Bench } from '../harness/lab.js';
import { cpuSeconds } from '../harness/usage.js';

const BYTES = 1_024;
/** Clients are processes of their own: one alone would be the bottleneck. */
const CLIENTS = 2;
/** Connections at once of each client. */
const AT_ONCE = 32;

/** Batches per second that so many receivers together confirm, each with a folder of its own. */
async function confirmed(bench: Bench, processes: number, batches: number): Promise<Sample> {
  const receivers = await Promise.all(
    Array.from({ length: processes }, (_, n) => bench.receiver('', `received${n}`)),
  );
  const pids = receivers.map(({ child }) => child.pid);
  const before = cpuSeconds({ pids });
  const begun = performance.now();
  const clients = Array.from({ length: CLIENTS }, (_, n) => {
    const { port } = receivers[n % processes] as (typeof receivers)[number];
    const words = [String(port), bench.path('..', 'cert.pem'), bench.path('..', 'key')];
    const share = [String(batches / CLIENTS), String(BYTES), String(AT_ONCE), 'batch'];
    return bench.program('bareClient', [...words, ...share]);
  });
  await Promise.all(clients.map((client) => client.line(/"seconds"/, 300_000)));
  const seconds = (performance.now() - begun) / 1_000;
  const cpu = cpuSeconds({ pids }) - before;
  return {
    'batches/s': batches / seconds,
    'CPU of the receivers, ms per batch': (cpu / batches) * 1_000,
    'CPU of the receivers, cores': cpu / seconds,
  };
}

export const receiverProcesses: Comparison = {
  name: 'receiver-processes',
  title: 'A receiver as several processes',
  text: `Small batches (${BYTES} bytes) without identity over the wire of today, from ${CLIENTS} bare clients with ${AT_ONCE} connections each. One receiver, and two that share nothing: the most that a cluster of processes could gain, since one that shares a data folder would also have to agree on each batch's number.`,
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const batches = quick ? 200 : 6_000;
    const run = (processes: number) => () =>
      lab.measure((bench) => confirmed(bench, processes, batches));
    const samples = await interleaved(rounds, { one: run(1), two: run(2) }, lab.say);
    const figures = [
      'batches/s',
      'CPU of the receivers, ms per batch',
      'CPU of the receivers, cores',
    ];
    return {
      tables: [medians(samples, figures, 'processes')],
      verdicts: [],
      notes: [
        `Two processes against one: ${round(medianRatio(samples.two, samples.one, 'batches/s'))}x.`,
      ],
    };
  },
};
