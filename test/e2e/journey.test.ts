import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdir, readdir, unlink, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { ARRIVAL_MS, announceBlob, Site, Writer } from './site.js';

failOnLeaks();

describe('ferry run', { concurrency: false }, () => {
  it('ships a journal and its blobs, empties the journal and removes the links', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, blobs: blob/foo/, to: replica, interval: 500ms'],
    });
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await mkdir(site.path('blob/foo'), { recursive: true });
    const image = randomBytes(300_000);
    await announceBlob(site.path('blob/foo'), '=1.img', 'a/b/1.img', image);
    const ferry = await site.start('run');
    for (let i = 0; i < 20; i += 1) await writer.commit();
    await site.arrived('foo', writer.written);
    await until('the link is gone', () => !existsSync(site.path('blob/foo/=1.img')), ARRIVAL_MS);
    assert.deepEqual(await site.receivedBlob('foo', 'a/b/1.img'), image);
    await until(
      'everything is confirmed',
      async () => (await site.route('foo@replica')).state === 'idle',
    );
    const status = await site.route('foo@replica');
    assert.deepEqual(await site.statusCommand(), await site.status());
    assert.equal(status.deliveredBytes, writer.written.length);
    assert.equal(status.pendingBatches + status.pendingBytes + status.pendingBlobs, 0);
    assert.equal(status.journalBytes, 0);
    assert.equal(status.lastError, null);
    assert.equal(status.head, status.tail + 1);
    const end = await ferry.kill('SIGTERM', 10_000);
    assert.deepEqual(end, { code: 0, signal: null });
    const log = ferry.output;
    assert.ok(!log.includes(site.keyText.trim()), 'no key text in the log');
  });

  it('takes files that appear later for journals, and leaves excluded ones alone', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['match: fifo/*, exclude: [beat], to: replica, interval: 500ms'],
    });
    await site.start('run');
    const writers = ['one', 'two'].map((name) => new Writer(site.path('fifo', name)));
    for (const writer of writers) await writer.commit();
    await writeFile(site.path('fifo/beat'), 'untouched');
    for (const writer of writers) await writer.commit();
    await site.arrived('one', writers[0]?.written ?? Buffer.alloc(0));
    await site.arrived('two', writers[1]?.written ?? Buffer.alloc(0));
    assert.deepEqual(
      (await readdir(site.path('received'))).filter((n) => n.startsWith('beat')),
      [],
    );
  });

  it('delays no route for the dead destination of another', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: {
        replica: { port },
        dead: { port: 1, url: 'dead/{journal}' },
      },
      journals: ['name: foo, path: fifo/foo, to: [replica, dead], interval: 300ms'],
    });
    await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    for (let i = 0; i < 10; i += 1) {
      await writer.commit();
      await site.arrived('foo', writer.written);
    }
    await until('the dead one was tried', async () => (await site.route('foo@dead')).attempts > 1);
    const dead = await site.route('foo@dead');
    assert.equal(dead.state, 'retrying');
    assert.equal(dead.lastErrorCode, 'CONNECTION_REFUSED');
    assert.equal(dead.pendingBytes, writer.written.length);
    assert.equal((await site.route('foo@replica')).state, 'idle');
  });

  it('keeps everything while a destination is away and drains it in order when it is back', async () => {
    const site = await Site.make();
    const first = await site.startReceiver();
    await first.process.kill('SIGTERM');
    await site.configure({
      destinations: { replica: { port: first.port } },
      journals: [
        'name: foo, path: fifo/foo, to: replica, interval: 200ms, flush: {maxBytes: 1KiB}',
      ],
    });
    await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    for (let i = 0; i < 8; i += 1) {
      await writer.commit(2_000);
      await until('it is captured', () => statSync(writer.path).size === 0);
    }
    assert.equal((await site.route('foo@replica')).pendingBatches, 8);
    await site.startReceiver(first.port);
    await site.arrived('foo', writer.written);
  });

  it('goes on with a journal that was removed and made again', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
    });
    const ferry = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await site.arrived('foo', writer.written);
    await unlink(site.path('fifo/foo'));
    await ferry.line(/JOURNAL_MISSING/);
    await writer.commit();
    await site.arrived('foo', writer.written);
    assert.equal(ferry.output.match(/"code":"JOURNAL_MISSING"/g)?.length, 1);
  });

  it('goes on by itself after a SIGKILL, without waiting for the lease of the dead', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 500ms'],
    });
    const writer = new Writer(site.path('fifo/foo'));
    for (let round = 0; round < 4; round += 1) {
      const ferry = await site.start('run');
      for (let i = 0; i < 15; i += 1) await writer.commit(50_000);
      await ferry.kill('SIGKILL');
      await writer.commit();
    }
    await site.start('run');
    await site.arrived('foo', writer.written);
  });
});
