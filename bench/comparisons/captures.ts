import { freePort } from '../../test/support/freePort.js';
import {
  atLeast,
  type Comparison,
  interleaved,
  medianOf,
  medians,
  type Sample,
} from '../harness/comparison.js';
import type { Bench } from '../harness/lab.js';
import { cpuSeconds } from '../harness/usage.js';

const RECORD_BYTES = 200;
/** Commits per second: above the target, and so few that the writer leaves a processor. */
const RATE = 6_000;

/** Captures of so many commits, round and round over so many journals, and what each costs. */
export async function capturing(bench: Bench, journals: number, commits: number): Promise<Sample> {
  const [dead, metrics] = [await freePort(), await freePort()];
  bench.configure({
    ports: { replica: dead },
    journals: [
      'match: fifo/*, to: replica, interval: 60s, flush: {maxBytes: 1B}, limits: {ahead: 1}',
    ],
    more: `metrics: {listen: 127.0.0.1:${metrics}}`,
  });
  await bench.commits(journals, journals, RECORD_BYTES);
  const producer = await bench.ferry('producer');
  const captured = (): Promise<number> => bench.metric(metrics, 'ferry_captured_batches_total');
  await bench.until('every journal was captured once', async () => (await captured()) >= journals);
  const before = await captured();
  const cpu = cpuSeconds({ pids: [producer.pid] });
  const committed = await bench.commits(journals, commits, RECORD_BYTES, RATE);
  const begunWaiting = performance.now();
  // A few commits may be over before the first of them is captured.
  await bench.until('something was captured', async () => (await captured()) > before);
  const seconds = committed + (performance.now() - begunWaiting) / 1_000;
  const cpuOfThem = cpuSeconds({ pids: [producer.pid] }) - cpu;
  const batches = (await captured()) - before;
  return {
    'captures/s': batches / seconds,
    'commits/s': commits / committed,
    'CPU of the producer, ms per capture': (cpuOfThem / batches) * 1_000,
  };
}

export const captures: Comparison = {
  name: 'captures',
  title: 'Captures of small batches',
  text: `One producer, many journals, commits of 200 bytes under the lock, round and round, ${RATE.toLocaleString('en-US')} per second; the destination is dead, of each route one batch is in Redis, and each commit may be a batch of its own (\`flush.maxBytes: 1B\`); a journal that gets its next commit before it is captured makes one batch of two. Every capture is sealed with a sync before its journal is truncated; journals share a sync where they can. Writer, producer and Redis share the machine: a writer without a rate takes processor from what is measured.`,
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const journals = quick ? 100 : 1_000;
    const commits = quick ? 2_000 : 60_000;
    const samples = await interleaved(
      rounds,
      { ours: () => lab.measure((bench) => capturing(bench, journals, commits)) },
      lab.say,
    );
    const figures = ['captures/s', 'commits/s', 'CPU of the producer, ms per capture'];
    return {
      tables: [medians({ [`${journals} journals`]: samples.ours }, figures)],
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
