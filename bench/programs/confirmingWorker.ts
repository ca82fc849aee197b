/**
 * A worker whose far side confirms everything at once: BullMQ, our scripts and the lease are as
 * always, no byte is read or sent. What the order of the routes costs by itself.
 *
 *     usage: confirmingWorker CONFIG BATCHES [BATCHES ...]
 *     prints: {"worker":"started"}, and after each so many batches
 *     {"part":N,"batches":N,"seconds":N,"cpuSeconds":N}: from the first of them to the last; the
 *     processor's of a later part from the end of the one before
 */
import { pino } from 'pino';
import { endWithParent } from '../../chaos/program.js';
import { NO_METER } from '../../src/common/meter.js';
import { loadConfig } from '../../src/config/load.js';
import { openQueueAccess } from '../../src/queue/access.js';
import { startWorker } from '../../src/workers/worker.js';
import { ownCpuSeconds } from '../harness/cpu.js';

endWithParent();
const [file = '', ...words] = process.argv.slice(2);
const parts = words.map(Number);
const config = loadConfig(file);
const logger = pino({ level: 'warn' });
const access = await openQueueAccess(config, logger);
let part = 0;
let batches = 0;
let begun = 0;
let cpuAtBegin: number | undefined;
await startWorker(
  config,
  access,
  { logger, meter: NO_METER },
  {
    preconnect: () => null,
    prepareBlob: () => null,
    async sendBatch() {
      if (batches === 0) begun = performance.now();
      cpuAtBegin ??= ownCpuSeconds();
      batches += 1;
      if (batches !== parts[part]) return;
      const seconds = (performance.now() - begun) / 1_000;
      const cpuSeconds = ownCpuSeconds() - cpuAtBegin;
      cpuAtBegin += cpuSeconds;
      part += 1;
      console.log(JSON.stringify({ part, batches, seconds, cpuSeconds }));
      batches = 0;
    },
    async sendBlob() {
      throw new Error('there are no blobs here');
    },
    async close() {},
  },
);
console.log(JSON.stringify({ worker: 'started' }));
