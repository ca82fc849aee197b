import { writeFileSync } from 'node:fs';
import type { Child } from '../../chaos/household.js';
import {
  atLeast,
  atMost,
  type Comparison,
  interleaved,
  medianOf,
  medianRatio,
  round,
  type Sample,
} from '../harness/comparison.js';
import { type Bench, fill, msBetween } from '../harness/lab.js';
import type { Sink } from '../harness/sink.js';
import { PeakPss } from '../harness/usage.js';

const MIB = 1024 * 1024;
const ARRIVAL_MS = 300_000;

/** The shipper stands still while the journal is filled, so that both begin with all of it. */
async function shipped(bench: Bench, bytes: number, shipper: Child, sink: Sink): Promise<Sample> {
  shipper.signal('SIGSTOP');
  await fill(bench.path('fifo', 'foo'), bytes);
  const peak = new PeakPss({ pids: [shipper.pid], stateDir: bench.stateDir });
  const begun = process.hrtime.bigint();
  shipper.signal('SIGCONT');
  const [arrival] = await sink.until(
    'the journal arrived',
    (arrivals) => arrivals.length > 0,
    ARRIVAL_MS,
  );
  const pssMib = peak.end();
  const seconds = msBetween(begun, arrival?.atNs ?? begun) / 1000;
  if (arrival?.bytes !== bytes) throw new Error(`${arrival?.bytes} bytes arrived, not ${bytes}`);
  return { 'MB/s': bytes / 1e6 / seconds, 'peak PSS MiB': pssMib };
}

export const largeJournal: Comparison = {
  name: 'large-journal',
  title: 'One large journal',
  text: 'A journal of 512 MiB that is there at once, until the far side has its `T`. `ferry run` with its embedded Redis copies it into the spool and syncs it on the way; `bin/ssl` reads it into memory. Both stand still (SIGSTOP) while the journal is written.',
  rounds: 5,
  async run(lab, { rounds, quick }) {
    const bytes = (quick ? 64 : 512) * MIB;
    const samples = await interleaved(
      rounds,
      {
        ours: () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            writeFileSync(bench.path('fifo', 'foo'), '');
            bench.configure({
              ports: { replica: sink.port },
              journals: ['name: foo, path: fifo/foo, to: replica, interval: 1s'],
            });
            return shipped(bench, bytes, await bench.ferry('run'), sink);
          }),
        'bin/ssl': () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            writeFileSync(bench.path('fifo', 'foo'), '');
            return shipped(bench, bytes, bench.binSsl(sink.port, 'fifo/foo', ''), sink);
          }),
      },
      lab.say,
    );
    const ratio = medianRatio(samples.ours, samples['bin/ssl'], 'MB/s');
    const row = (name: 'ours' | 'bin/ssl'): string[] => [
      name,
      round(medianOf(samples[name], 'MB/s')),
      round(medianOf(samples[name], 'peak PSS MiB')),
    ];
    return {
      tables: [{ heads: ['', 'MB/s', 'peak PSS MiB'], rows: [row('ours'), row('bin/ssl')] }],
      verdicts: [
        atLeast(`${bytes / MIB} MiB journal, throughput against bin/ssl`, ratio, 1, 'x'),
        atMost(
          'peak PSS of sender, keeper and Redis',
          medianOf(samples.ours, 'peak PSS MiB'),
          250,
          ' MiB',
        ),
      ],
    };
  },
};
