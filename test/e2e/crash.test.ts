import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { startFerry, until } from '../support/process.js';
import { killSender, pointsOf, startLivingReceiver } from './crashScenario.js';
import { Site } from './site.js';

const living = await startLivingReceiver();
failOnLeaks();

describe('a sender killed between ftruncate and its mark', () => {
  it('ships a later commit of the very same bytes, because recovery runs at its start', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
    });
    const commit = Buffer.from('always the same\n');
    await writeFile(site.path('fifo/foo'), commit);
    const env = { FERRY_CRASH_AT: 'capture.truncated' };
    const killed = startFerry(['run'], { cwd: site.dir, env });
    assert.deepEqual(await killed.end(), { code: null, signal: 'SIGKILL' });
    await site.start('run');
    await site.arrived('foo', commit);
    const idle = async () => (await site.route('foo@replica')).state === 'idle';
    await until('it is confirmed', idle);
    await writeFile(site.path('fifo/foo'), commit);
    await site.arrived('foo', Buffer.concat([commit, commit]));
  });
});

describe('a sender killed at a named point', () => {
  for (const point of pointsOf('sender')) {
    it(`loses nothing, doubles nothing and keeps the order: ${point}`, () =>
      killSender(living, point));
  }
});
