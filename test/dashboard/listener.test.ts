import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { FerryError } from '../../src/common/errors.js';
import { Listener } from '../../src/dashboard/listener.js';
import { failOnLeaks } from '../support/leaks.js';

failOnLeaks();

const TRIES = 12;

test('a port that stays taken is tried again without leaving listeners behind', async () => {
  // Each try left one for `listening`: one every two seconds, and Node's warning at the eleventh.
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => void warnings.push(warning);
  process.on('warning', onWarning);
  after(() => process.off('warning', onWarning));
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const listener = new Listener(
    { fetch: () => new Response('here') },
    { host: '127.0.0.1', port },
    pino({ level: 'silent' }),
  );
  for (let tries = 0; tries < TRIES; tries += 1) {
    await assert.rejects(
      listener.listen(),
      (error) => error instanceof FerryError && error.code === 'DASHBOARD_LISTEN_FAILED',
    );
  }
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);

  other.close();
  await once(other, 'close');
  await listener.listen();
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'here');
  await listener.stop();
});
