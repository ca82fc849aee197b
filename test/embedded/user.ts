/** A process that uses the embedded Redis of a state directory until it is told to end. */

import { createLogger } from '../../src/common/logger.js';
import { acquireEmbeddedRedis } from '../../src/queue/embedded/acquire.js';

const logger = createLogger({ level: 'debug', format: 'json', color: false, destination: 2 });
const handle = await acquireEmbeddedRedis({ stateDir: process.argv[2] ?? '', logger });
console.log(`ready ${handle.socketPath}`);
const stayAlive = setInterval(() => undefined, 60_000);
process.on('SIGTERM', () => {
  clearInterval(stayAlive);
  void handle.release();
});
