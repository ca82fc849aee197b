import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, until } from '../support/process.js';
import { Site, Writer } from './site.js';

failOnLeaks();

async function capture(writer: Writer): Promise<void> {
  await writer.commit();
  await until('it is captured', () => statSync(writer.path).size === 0);
}

describe('the operator', () => {
  it('pauses a route, also across a restart, and lets it go on in order', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
    });
    let ferry = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await capture(writer);
    await site.arrived('foo', writer.written);
    const before = writer.written.length;
    const paused = await runFerry(['pause', 'foo'], { cwd: site.dir });
    assert.deepEqual([paused.code, paused.stdout], [0, 'foo@replica: paused\n']);
    await capture(writer);
    await until('it is paused', async () => (await site.route('foo@replica')).state === 'paused');
    await ferry.kill('SIGTERM');
    ferry = await site.start('run');
    await writer.commit();
    assert.equal((await site.route('foo@replica')).state, 'paused');
    assert.equal((await site.received('foo')).length, before);
    assert.equal((await runFerry(['resume', '*@replica'], { cwd: site.dir })).code, 0);
    await site.arrived('foo', writer.written);
    const audit = readFileSync(site.path('state/audit.log'), 'utf8');
    assert.match(audit, /"event":"pause","route":"foo@replica"/);
    assert.match(audit, /"event":"resume"/);
  });

  it('starts a route that begins paused, and replays a blocked one', async () => {
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await receiver.process.kill('SIGTERM');
    const dead = await freePort();
    await site.configure({
      destinations: { replica: { port: receiver.port }, backup: { port: dead } },
      journals: [
        'name: foo, path: fifo/foo, to: [replica, {backup: {start: paused}}], interval: 100ms, attempts: 2',
      ],
    });
    const ferry = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await ferry.line(/the route is blocked/);
    assert.equal((await site.route('foo@backup')).state, 'paused');
    await site.startReceiver(receiver.port);
    assert.equal((await runFerry(['replay', 'foo@replica'], { cwd: site.dir })).code, 0);
    await site.arrived('foo', writer.written);
    assert.equal((await runFerry(['resume', 'foo@backup'], { cwd: site.dir })).code, 0);
    await until('it was tried', async () => (await site.route('foo@backup')).state === 'blocked');
  });

  it('is told which routes there are when a name fits none or several', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      destinations: { a: { port }, b: { port, url: 'b/{journal}' } },
      journals: ['name: foo, path: fifo/foo, to: [a, b], interval: 200ms'],
    });
    const away = await runFerry(['pause', 'foo'], { cwd: site.dir });
    assert.equal(away.code, 1);
    assert.match(away.stderr, /not running/);
    await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await capture(writer);
    const known = async () => (await site.status()).routes.every(({ tail }) => tail === 1);
    await until('both routes are open', known);
    const several = await runFerry(['pause', 'foo'], { cwd: site.dir });
    assert.equal(several.code, 2);
    assert.match(several.stderr, /foo@a, foo@b/);
    const none = await runFerry(['pause', 'bar'], { cwd: site.dir });
    assert.equal(none.code, 2);
    assert.match(none.stderr, /no route is named bar/);
  });
});
