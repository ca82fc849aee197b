import { writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Child } from '../../chaos/household.js';
import {
  atLeast,
  atMost,
  type Comparison,
  interleaved,
  medianOf,
  medianRatio,
  medians,
  type Sample,
} from '../harness/comparison.js';
import { type Bench, fill } from '../harness/lab.js';
import { touchMemory } from '../harness/memory.js';
import { runOne, secondsToShip } from '../harness/shipped.js';
import type { Sink } from '../harness/sink.js';
import { PeakPss } from '../harness/usage.js';

const MIB = 1024 * 1024;

async function shipped(bench: Bench, bytes: number, shipper: Child, sink: Sink): Promise<Sample> {
  const peak = new PeakPss({ pids: [shipper.pid], stateDir: bench.stateDir });
  try {
    const seconds = await secondsToShip(shipper, sink, bench.path('fifo', 'foo'), bytes);
    return { 'MB/s': bytes / 1e6 / seconds, 'peak PSS MB': peak.end() };
  } finally {
    peak.end();
  }
}

/** What a durable copy alone takes: the disk's part in what ours does, with nothing else. */
async function copied(bench: Bench, bytes: number): Promise<Sample> {
  const path = bench.path('fifo', 'foo');
  await fill(path, bytes);
  const begun = performance.now();
  const from = await open(path, 'r');
  const to = await open(bench.path('copy'), 'wx');
  try {
    const piece = Buffer.allocUnsafe(MIB);
    for (let at = 0; at < bytes; at += MIB) {
      const { bytesRead } = await from.read(piece, 0, MIB, at);
      await to.write(piece, 0, bytesRead, at);
    }
    await to.datasync();
  } finally {
    await from.close();
    await to.close();
  }
  return { 'MB/s': bytes / 1e3 / (performance.now() - begun) };
}

export const largeJournal: Comparison = {
  name: 'large-journal',
  title: 'One large journal',
  text: 'A journal of 512 MiB that is there at once, until the far side has its `T`. `ferry run` with its embedded Redis copies it into the spool and syncs it on the way; `bin/ssl` reads it into memory. Both stand still (SIGSTOP) while the journal is written. Beside them what a copy of as much takes that is synced and goes nowhere: the part of the disk, which ours cannot do without before it empties a journal, and which differs from machine to machine.',
  rounds: 5,
  async run(lab, { rounds, quick }) {
    const bytes = (quick ? 64 : 512) * MIB;
    if (!quick) await touchMemory(lab);
    const samples = await interleaved(
      rounds,
      {
        ours: () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            return shipped(bench, bytes, await runOne(bench, sink), sink);
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
    const alone = await interleaved(
      rounds,
      { 'a synced copy alone': () => lab.measure((bench) => copied(bench, bytes)) },
      lab.say,
    );
    const ratio = medianRatio(samples.ours, samples['bin/ssl'], 'MB/s');
    return {
      tables: [medians(samples, ['MB/s', 'peak PSS MB']), medians(alone, ['MB/s'])],
      verdicts: [
        atLeast(`${bytes / MIB} MiB journal, throughput against bin/ssl`, ratio, 1, 'x'),
        atMost(
          'peak PSS of sender, keeper and Redis',
          medianOf(samples.ours, 'peak PSS MB'),
          250,
          ' MB',
        ),
      ],
    };
  },
};
