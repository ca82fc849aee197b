import { randomBytes } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Child } from '../../chaos/household.js';
import {
  atLeast,
  type Comparison,
  interleaved,
  medianRatio,
  medians,
  type Sample,
} from '../harness/comparison.js';
import { type Bench, fill, msBetween } from '../harness/lab.js';
import { touchMemory } from '../harness/memory.js';
import { runOne } from '../harness/shipped.js';
import type { Sink } from '../harness/sink.js';

const MIB = 1024 * 1024;
const SMALL_BYTES = 1_024;
const ARRIVAL_MS = 300_000;
/** `connections` of a destination, unless it says otherwise. */
const CONNECTIONS = 4;

/** Blobs that are all announced while the shipper stands still, until the last one's `T`. */
async function shipped(
  shipper: Child,
  sink: Sink,
  announce: () => Promise<number>,
): Promise<{ seconds: number; blobs: number }> {
  shipper.signal('SIGSTOP');
  const blobs = await announce();
  const begun = process.hrtime.bigint();
  shipper.signal('SIGCONT');
  const arrivals = await sink.until(
    `${blobs} blobs arrived`,
    ({ length }) => length >= blobs,
    ARRIVAL_MS,
  );
  return { seconds: msBetween(begun, arrivals.at(-1)?.atNs ?? begun) / 1000, blobs };
}

function ours(bench: Bench, sink: Sink): Promise<Child> {
  return runOne(bench, sink, ', blobs: blob/');
}

function binSsl(bench: Bench, sink: Sink): Child {
  writeFileSync(bench.path('fifo', 'foo'), '');
  return bench.binSsl(sink.port, 'fifo/foo', 'blob/');
}

export const largeBlob: Comparison = {
  name: 'large-blob',
  title: 'One large blob',
  text: 'A blob of 512 MiB, from its link to the `T` of the far side.',
  rounds: 5,
  async run(lab, { rounds, quick }) {
    const bytes = (quick ? 64 : 512) * MIB;
    if (!quick) await touchMemory(lab);
    const measured = (start: (bench: Bench, sink: Sink) => Child | Promise<Child>) => () =>
      lab.measure(async (bench): Promise<Sample> => {
        const sink = await bench.sink();
        const { seconds } = await shipped(await start(bench, sink), sink, async () => {
          await fill(bench.path('blob', 'large'), bytes);
          symlinkSync('large', bench.path('blob', '=1.large'));
          return 1;
        });
        return { 'MB/s': bytes / 1e6 / seconds };
      });
    const samples = await interleaved(
      rounds,
      { ours: measured(ours), 'bin/ssl': measured(binSsl) },
      lab.say,
    );
    const ratio = medianRatio(samples.ours, samples['bin/ssl'], 'MB/s');
    return {
      tables: [medians(samples, ['MB/s'])],
      verdicts: [atLeast(`${bytes / MIB} MiB blob, against bin/ssl`, ratio, 1.5, 'x')],
    };
  },
};

export const smallBlobs: Comparison = {
  name: 'small-blobs',
  title: 'Many small blobs',
  text: 'Blobs of 1 KiB to one destination, all announced at once, from the first link to the last `T`. The bare client sends as many requests of the same size over as many connections at a time and does nothing else; its time begins with its second request, ours with the first look at the links.',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const many = quick ? 100 : 1_000;
    const announce = (bench: Bench, count: number) => async (): Promise<number> => {
      mkdirSync(bench.path('blob', 'b'));
      for (let n = 1; n <= count; n += 1) {
        writeFileSync(bench.path('blob', 'b', `${n}`), randomBytes(SMALL_BYTES));
        symlinkSync(`b/${n}`, bench.path('blob', `=${n}.pic`));
      }
      return count;
    };
    const measured =
      (start: (bench: Bench, sink: Sink) => Child | Promise<Child>, count: number) => () =>
        lab.measure(async (bench): Promise<Sample> => {
          const sink = await bench.sink();
          const shipper = await start(bench, sink);
          const { seconds } = await shipped(shipper, sink, announce(bench, count));
          return { 'blobs/s': count / seconds };
        });
    const samples = await interleaved(
      rounds,
      {
        ours: measured(ours, many),
        // Some 20 per second: as many as the others would take a minute.
        'bin/ssl': measured(binSsl, many / 10),
        'bare client': () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            const seconds = await bareClient(bench, sink, many, CONNECTIONS, 'blob');
            return { 'blobs/s': many / seconds };
          }),
      },
      lab.say,
    );
    return {
      tables: [medians(samples, ['blobs/s'])],
      verdicts: [
        atLeast(
          `${many} blobs of 1 KiB, against bin/ssl`,
          medianRatio(samples.ours, samples['bin/ssl'], 'blobs/s'),
          20,
          'x',
        ),
        atLeast(
          `${many} blobs of 1 KiB, against a bare client`,
          medianRatio(samples.ours, samples['bare client'], 'blobs/s'),
          0.8,
          'x',
        ),
      ],
    };
  },
};

/** Runs the bare client to its end; seconds for its requests. */
export async function bareClient(
  bench: Bench,
  sink: { port: number },
  count: number,
  connections: number,
  kind: 'batch' | 'blob',
): Promise<number> {
  const words = [sink.port, '../cert.pem', '../key', count, SMALL_BYTES, connections, kind];
  const child = bench.program('bareClient', words.map(String));
  return Number((await child.line(/"seconds":([\d.]+)/))[1]);
}
