import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ping } from '../../src/queue/embedded/ping.js';
import { atEnd } from '../support/atEnd.js';
import { failOnLeaks } from '../support/leaks.js';
import { closer } from '../support/servers.js';
import { tempDir } from '../support/tempDir.js';

failOnLeaks();

test('a server that hangs is not taken for none: whoever is told that none runs would start one', async () => {
  const path = join(tempDir(), 'redis.sock');
  assert.equal(await ping(path), 'none');
  const server = createServer();
  atEnd(closer(server));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  assert.equal(await ping(path), 'silent');
});
