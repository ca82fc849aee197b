import { writeFileSync } from 'node:fs';
import { atLeast, type Comparison, interleaved, medianOf, medians } from '../harness/comparison.js';
import { touchMemory } from '../harness/memory.js';
import { startRedis } from '../harness/redis.js';
import { secondsToShip } from '../harness/shipped.js';

const MIB = 1024 * 1024;

export const redisPayloads: Comparison = {
  name: 'redis-payloads',
  title: 'A large batch through Redis',
  text: 'A journal of 100 MiB with `payloads: redis`: producer and worker are two processes that share nothing but a Redis with `appendfsync always`. From the moment the journal is there to the `T`. The producer stands still while the journal is written.',
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const bytes = (quick ? 16 : 100) * MIB;
    if (!quick) await touchMemory(lab);
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
            const journal = bench.path('fifo', 'foo');
            const seconds = await secondsToShip(producer, sink, journal, bytes);
            return { 'MB/s': bytes / 1e6 / seconds };
          }),
      },
      lab.say,
    );
    const rate = medianOf(samples.ours, 'MB/s');
    return {
      tables: [medians({ [`${bytes / MIB} MiB`]: samples.ours }, ['MB/s'])],
      verdicts: [atLeast(`${bytes / MIB} MiB through Redis`, rate, 70, ' MB/s')],
    };
  },
};
