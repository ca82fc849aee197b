import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { closer, listen } from '../support/servers.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

failOnLeaks();

/** More than a window of them. */
const BLOBS = 1_050;
/** Of a few who try for all; each for itself would be a thousand a second. */
const KNOCKS = 17;
/** At most four a second, one for each of the destination's connections. */
const KNOCKS_TAKE_MS = 2_000;
/** All of them, beside other tests: each is a connection, and two syncs at the receiver. */
const ALL_ARRIVE_MS = 2 * ARRIVAL_MS;

describe('many blobs of a destination that is away', () => {
  it('do not all knock for themselves, and arrive when it is back', async (t) => {
    const site = await Site.make();
    const away = createServer((socket) => socket.destroy());
    const end = closer(away);
    t.after(end);
    const knocks: number[] = [];
    away.on('connection', () => knocks.push(performance.now()));
    const port = await listen(away);
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, interval: 200ms, blobs: blob/, to: replica'],
    });
    await mkdir(site.path('blob'));
    const names = Array.from({ length: BLOBS }, (_, n) => `${n}.x`);
    for (const name of names) {
      await announceBlob(site.path('blob'), `=${name}`, name, Buffer.from(name));
    }
    await site.start('run');
    await until('they knock', () => knocks.length >= KNOCKS, ARRIVAL_MS);
    const tookMs = (knocks[KNOCKS - 1] ?? 0) - (knocks[0] ?? 0);
    assert.ok(tookMs >= KNOCKS_TAKE_MS, `${KNOCKS} connections within ${tookMs} ms`);
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await end();
    await site.startReceiver(port);
    await site.arrived('foo', writer.written);
    await until(
      'the links are gone',
      async () => (await readdir(site.path('blob'))).every((name) => !name.startsWith('=')),
      ALL_ARRIVE_MS,
    );
    for (const name of names) {
      assert.deepEqual(await site.receivedBlob('foo', name), Buffer.from(name));
      assert.ok(existsSync(site.path('blob', name)));
    }
  });
});
