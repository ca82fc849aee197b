import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { pipeline } from 'node:stream';
import { describe, it } from 'node:test';
import type { CrashPoint } from '../../src/common/crashPoints.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { closer, listen } from '../support/servers.js';
import { killReceiver, killSender, startLivingReceiver } from './crashScenario.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

const living = await startLivingReceiver();
failOnLeaks();

/** Where the wire makes a difference; the others are in crash.test.ts. */
const POINTS: readonly (readonly ['sender' | 'receiver', CrashPoint])[] = [
  ['sender', 'worker.beforeT'],
  ['sender', 'worker.confirmed'],
  ['receiver', 'receiver.synced'],
  ['receiver', 'receiver.committed'],
  ['receiver', 'receiver.answered'],
];

const H2 = 'dialect: h2';

/** Hands on what comes, and counts the connections. */
async function countingProxy(
  to: number,
): Promise<{ port: number; readonly connections: number; stop(): Promise<void> }> {
  let connections = 0;
  const server = createServer((front) => {
    connections += 1;
    const back = connect(to, '127.0.0.1');
    pipeline(front, back, front, () => undefined);
  });
  const stop = closer(server);
  const port = await listen(server);
  return {
    port,
    get connections() {
      return connections;
    },
    stop,
  };
}

describe('ferry run over HTTP/2', () => {
  it('ships batches, small and large, and blobs over one connection', async () => {
    const site = await Site.make();
    const receiver = await site.startReceiver();
    const counter = await countingProxy(receiver.port);
    await site.configure({
      destinations: { replica: { port: counter.port, more: 'dialect: h2' } },
      journals: ['match: fifo/*, blobs: "blob/{journal}/", to: replica, interval: 500ms'],
    });
    const names = ['one', 'two', 'three'];
    const image = randomBytes(3_000_000);
    for (const name of names) await mkdir(site.path('blob', name), { recursive: true });
    await announceBlob(site.path('blob/one'), '=1.img', 'a/b c/ü%2F.img', image);
    const ferry = await site.start('run');
    const writers = names.map((name) => new Writer(site.path('fifo', name)));
    for (let i = 0; i < 10; i += 1) {
      for (const writer of writers) await writer.commit(i === 5 ? 2_000_000 : 300);
    }
    for (const [i, name] of names.entries()) {
      await site.arrived(name, writers[i]?.written ?? Buffer.alloc(0));
    }
    await until('the link is gone', () => !existsSync(site.path('blob/one/=1.img')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('one', 'a/b c/ü%2F.img'), image);
    await until(
      'everything is confirmed',
      async () => (await site.route('one@replica')).state === 'idle',
    );
    const { deliveredBatches, lastError } = await site.route('one@replica');
    assert.ok(deliveredBatches > 0);
    assert.equal(lastError, null);
    assert.equal(counter.connections, 1);
    assert.deepEqual(await ferry.kill('SIGTERM', 10_000), { code: 0, signal: null });
    assert.ok(!ferry.output.includes(site.keyText.trim()), 'no key text in the log');
    assert.deepEqual(await receiver.process.kill('SIGTERM', 10_000), { code: 0, signal: null });
    await counter.stop();
  });

  it('goes on where the old wire was, and over a new connection when the receiver was restarted', async () => {
    const site = await Site.make();
    const first = await site.startReceiver();
    const configure = (dialect: string) =>
      site.configure({
        destinations: { replica: { port: first.port, more: `dialect: ${dialect}` } },
        journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
      });
    await configure('acked');
    const before = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await site.arrived('foo', writer.written);
    await before.kill('SIGTERM', 10_000);
    await configure('h2');
    await site.start('run');
    await writer.commit();
    await site.arrived('foo', writer.written);
    assert.deepEqual(await first.process.kill('SIGTERM', 10_000), { code: 0, signal: null });
    await writer.commit();
    await until('it was tried', async () => (await site.route('foo@replica')).attempts > 0);
    assert.equal((await site.route('foo@replica')).lastErrorCode, 'CONNECTION_REFUSED');
    await site.startReceiver(first.port);
    await site.arrived('foo', writer.written);
    assert.equal((await site.route('foo@replica')).duplicatesPossible, 0);
  });
});

for (const [side, point] of POINTS) {
  it(`a ${side} killed at ${point} over HTTP/2 loses and doubles nothing`, () =>
    side === 'sender' ? killSender(living, point, H2) : killReceiver(point, H2));
}
