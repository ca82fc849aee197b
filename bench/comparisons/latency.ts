import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Committer } from '../harness/commits.js';
import {
  atMost,
  type Comparison,
  interleaved,
  medianOf,
  medians,
  quantile,
  type Sample,
} from '../harness/comparison.js';
import { type Bench, msBetween } from '../harness/lab.js';
import { runOne } from '../harness/shipped.js';
import type { Sink } from '../harness/sink.js';

const RECORD_BYTES = 200;
const ARRIVAL_MS = 60_000;
/** `bin/ssl` looks each second: commits come at any moment of that. */
const PAUSE_MAX_MS = { ours: 60, 'bin/ssl': 1_000 };

/** One commit after the other, each at its own moment, until the far side answers `T`. */
async function latencies(
  bench: Bench,
  sink: Sink,
  commits: number,
  pauseMaxMs: number,
): Promise<Sample> {
  const writer = await Committer.open(bench.path('fifo', 'foo'));
  const ms: number[] = [];
  try {
    // The first one pays for the first handshake, and for what is only read once.
    for (let n = 0; n <= commits; n += 1) {
      await sleep(Math.random() * pauseMaxMs);
      const committed = await writer.commit(randomBytes(RECORD_BYTES));
      const arrivals = await sink.until(
        `commit ${n} arrived`,
        ({ length }) => length > n,
        ARRIVAL_MS,
      );
      if (n > 0) ms.push(msBetween(committed, arrivals[n]?.atNs ?? committed));
    }
  } finally {
    await writer.close();
  }
  return {
    'p50 ms': quantile(ms, 0.5),
    'p99 ms': quantile(ms, 0.99),
    'longest ms': Math.max(...ms),
  };
}

export const latency: Comparison = {
  name: 'latency',
  title: 'From the commit to the far side',
  text: 'One journal, commits of 200 bytes, one at a time at random moments: from the moment the writer gives its lock back to the moment the far side has the whole batch and answers `T`. Spool and embedded Redis sync each step.',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const samples = await interleaved(
      rounds,
      {
        ours: () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            await runOne(bench, sink);
            return latencies(bench, sink, quick ? 10 : 300, PAUSE_MAX_MS.ours);
          }),
        'bin/ssl': () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            const writer = await Committer.open(bench.path('fifo', 'foo'));
            await writer.close();
            bench.binSsl(sink.port, 'fifo/foo', '');
            return latencies(bench, sink, quick ? 2 : 30, PAUSE_MAX_MS['bin/ssl']);
          }),
      },
      lab.say,
    );
    const figures = ['p50 ms', 'p99 ms', 'longest ms'];
    return {
      tables: [medians({ ours: samples.ours, 'bin/ssl, each 1 s': samples['bin/ssl'] }, figures)],
      verdicts: [
        atMost('commit to `T`, p50', medianOf(samples.ours, 'p50 ms'), 8, ' ms'),
        atMost('commit to `T`, p99', medianOf(samples.ours, 'p99 ms'), 50, ' ms'),
      ],
    };
  },
};
