/** A role that behaves as its argument says, under the real `runRole`. */
import { type Running, runRole } from '../../src/cli/runRole.js';
import { FerryError } from '../../src/common/errors.js';
import { createLogger } from '../../src/common/logger.js';

const [behaviour = ''] = process.argv.slice(2);
const logger = createLogger({ level: 'info', format: 'json', color: false });
const keepAlive = setInterval(() => undefined, 60_000);
const startedAt = performance.now();

async function start(): Promise<Running> {
  if (behaviour === 'bad-config') throw new FerryError('X', 'no such thing', { kind: 'usage' });
  if (behaviour === 'bad-start') throw new Error('no luck');
  logger.info('up');
  const running: Running = {
    async stop() {
      logger.info('stop called');
      if (behaviour === 'hangs') await new Promise(() => undefined);
      clearInterval(keepAlive);
    },
  };
  if (behaviour === 'idle') running.lastActiveAt = () => startedAt;
  if (behaviour === 'fails') running.failed = Promise.reject(new Error('lost the lock'));
  if (behaviour === 'bug') setImmediate(() => void Promise.reject(new Error('forgotten')));
  if (behaviour === 'talks') setInterval(() => logger.info('talking'), 1);
  return running;
}

await runRole({ logger, ...(behaviour === 'idle' ? { idleExitMs: 200 } : {}) }, start);
