/**
 * A worker whose far side confirms everything at once: BullMQ, our scripts and the lease are as
 * always, no byte is read or sent. What the order of the routes costs by itself.
 *
 *     usage: confirmingWorker CONFIG BATCHES
 *     prints: {"worker":"started"}, and after so many batches {"batches":N,"seconds":N}
 */
import { pino } from 'pino';
import { endWithParent } from '../../chaos/program.js';
import { NO_METER } from '../../src/common/meter.js';
import { loadConfig } from '../../src/config/load.js';
import { openQueueAccess } from '../../src/queue/access.js';
import { startWorker } from '../../src/workers/worker.js';

endWithParent();
const [file = '', wanted = ''] = process.argv.slice(2);
const config = loadConfig(file);
const logger = pino({ level: 'warn' });
const access = await openQueueAccess(config, logger);
let batches = 0;
let begun = 0;
await startWorker(
  config,
  access,
  { logger, meter: NO_METER },
  {
    async sendBatch() {
      if (batches === 0) begun = performance.now();
      batches += 1;
      if (batches !== Number(wanted)) return;
      const seconds = (performance.now() - begun) / 1_000;
      console.log(JSON.stringify({ batches, seconds }));
    },
    async sendBlob() {
      throw new Error('there are no blobs here');
    },
    async close() {},
  },
);
console.log(JSON.stringify({ worker: 'started' }));
