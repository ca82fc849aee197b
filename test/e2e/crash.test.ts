import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { CRASH_POINTS, type CrashPoint } from '../../src/common/crashPoints.js';
import { failOnLeaks } from '../support/leaks.js';
import { startFerry, until } from '../support/process.js';
import { killReceiver, killSender, startLivingReceiver } from './crashScenario.js';
import { Site } from './site.js';

const living = await startLivingReceiver();
failOnLeaks();

/** Points that a plain small capture and an undisturbed operator do not pass; they have tests of their own. */
const ELSEWHERE: readonly CrashPoint[] = [
  'capture.precopied',
  'capture.trimMarked',
  'capture.trimmed',
  'transfer.wished',
  'transfer.uploaded',
  'transfer.taken',
  'skip.kept',
  'skip.recorded',
  'skip.applied',
  'skip.audited',
  'replay.recorded',
  'replay.opened',
  'replay.audited',
  'archive.indexed',
  'archive.kept',
  'archive.recorded',
  'archive.pruned',
  'receiver.folderMade',
  'receiver.applied',
];

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

for (const side of ['sender', 'receiver'] as const) {
  describe(`a ${side} killed at a named point`, () => {
    for (const point of CRASH_POINTS) {
      if (point.startsWith('receiver.') !== (side === 'receiver')) continue;
      if (ELSEWHERE.includes(point)) continue;
      it(`loses nothing, doubles nothing and keeps the order: ${point}`, () =>
        side === 'sender' ? killSender(living, point) : killReceiver(point));
    }
  });
}
