import { writeFileSync } from 'node:fs';
import { atLeast, type Comparison, interleaved, medianOf, round } from '../harness/comparison.js';
import { fill, msBetween } from '../harness/lab.js';
import { startRedis } from '../harness/redis.js';

const MIB = 1024 * 1024;
const ARRIVAL_MS = 300_000;

export const redisPayloads: Comparison = {
  name: 'redis-payloads',
  title: 'A large batch through Redis',
  text: 'A journal of 100 MiB with `payloads: redis`: producer and worker are two processes that share nothing but a Redis with `appendfsync always`. From the moment the journal is there to the `T`. The producer stands still while the journal is written.',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const bytes = (quick ? 16 : 100) * MIB;
    const samples = await interleaved(
      rounds,
      {
        ours: () =>
          lab.measure(async (bench) => {
            const sink = await bench.sink();
            writeFileSync(bench.path('fifo', 'foo'), '');
            bench.configure({
              ports: { replica: sink.port },
              redis: await startRedis(bench),
              payloads: 'redis',
              journals: ['name: foo, path: fifo/foo, to: replica, interval: 1s'],
            });
            await bench.ferry('worker');
            const producer = await bench.ferry('producer');
            producer.signal('SIGSTOP');
            await fill(bench.path('fifo', 'foo'), bytes);
            const begun = process.hrtime.bigint();
            producer.signal('SIGCONT');
            const [arrival] = await sink.until(
              'the journal arrived',
              ({ length }) => length > 0,
              ARRIVAL_MS,
            );
            const seconds = msBetween(begun, arrival?.atNs ?? begun) / 1_000;
            return { 'MB/s': bytes / 1e6 / seconds };
          }),
      },
      lab.say,
    );
    const rate = medianOf(samples.ours, 'MB/s');
    return {
      tables: [{ heads: ['', 'MB/s'], rows: [[`${bytes / MIB} MiB`, round(rate)]] }],
      verdicts: [atLeast(`${bytes / MIB} MiB through Redis`, rate, 70, ' MB/s')],
    };
  },
};
