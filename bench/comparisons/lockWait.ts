import { open, rm } from 'node:fs/promises';
import { JournalWriter } from '../../test/support/journalWriter.js';
import {
  atMost,
  type Comparison,
  interleaved,
  median,
  medianOf,
  medians,
  type Sample,
} from '../harness/comparison.js';
import { type Bench, fill } from '../harness/lab.js';
import { touchMemory } from '../harness/memory.js';

const MIB = 1024 * 1024;
const ARRIVAL_MS = 240_000;
/** What the capture may add to the `ftruncate` that nobody can do without. */
const ALLOWED_MS = 20;

/** Milliseconds of one `ftruncate(0)` of a written-back file; the median of three. */
async function truncated(bench: Bench, bytes: number): Promise<Sample> {
  const times: number[] = [];
  for (let i = 0; i < 3; i += 1) {
    const path = bench.path('truncated');
    await fill(path, bytes);
    const file = await open(path, 'r+');
    const begun = performance.now();
    await file.truncate(0);
    times.push(performance.now() - begun);
    await file.close();
    await rm(path);
  }
  return { ms: median(times) };
}

/** The longest wait of a writer that goes on committing while the journal is captured. */
async function waited(bench: Bench, bytes: number, trimAbove: string): Promise<Sample> {
  const sink = await bench.sink();
  const journal = bench.path('fifo', 'foo');
  await fill(journal, bytes);
  bench.configure({
    ports: { replica: sink.port },
    journals: [
      `name: foo, path: fifo/foo, to: replica, interval: 1s, flush: {trimAbove: ${trimAbove}}`,
    ],
  });
  const writer = new JournalWriter(journal, { bytesMax: 500, pauseMs: 1 });
  await bench.ferry('run');
  await sink.until(
    'the journal arrived',
    (all) => all.reduce((sum, one) => sum + one.bytes, 0) >= bytes,
    ARRIVAL_MS,
  );
  return { ms: (await writer.stop()).longestWaitMs };
}

export const lockWait: Comparison = {
  name: 'lock-wait',
  title: "The writer's wait",
  text: 'A writer commits every millisecond or so, while its journal of 512 MiB is copied, sealed and truncated: the longest time it waits for its lock. Beside it what one `ftruncate` of a written-back file of that size takes by itself, which nobody can do without unless the journal is given back in pieces (`flush.trimAbove`).',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const bytes = (quick ? 64 : 512) * MIB;
    if (!quick) await touchMemory(lab);
    const samples = await interleaved(
      rounds,
      {
        ftruncate: () => lab.measure((bench) => truncated(bench, bytes)),
        'trimAbove off': () => lab.measure((bench) => waited(bench, bytes, 'off')),
        'trimAbove 64MiB': () => lab.measure((bench) => waited(bench, bytes, '64MiB')),
      },
      lab.say,
    );
    // Within each round, as the ratios of the others: what both met alike falls out.
    const beyond = median(
      samples['trimAbove off'].map(
        ({ ms = Number.NaN }, n) => ms - (samples.ftruncate[n]?.['ms'] ?? Number.NaN),
      ),
    );
    return {
      tables: [medians(samples, ['ms'])],
      verdicts: [
        atMost("the writer's longest wait beyond one `ftruncate`", beyond, ALLOWED_MS, ' ms'),
        atMost(
          "the writer's longest wait with `trimAbove`",
          medianOf(samples['trimAbove 64MiB'], 'ms'),
          ALLOWED_MS,
          ' ms',
        ),
      ],
    };
  },
};
