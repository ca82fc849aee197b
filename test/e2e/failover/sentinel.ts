import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { createServer, type TLSSocket } from 'node:tls';
import { testCerts } from '../../support/certs.js';
import { freePort } from '../../support/freePort.js';
import { start, type TestProcess, until } from '../../support/process.js';
import { findTestServer, startTestRedis, type TestRedis } from '../../support/redis.js';
import { tempDir } from '../../support/tempDir.js';
import { ARRIVAL_MS, Site, Writer } from '../site.js';

const certs = testCerts();

/** Redis and Sentinel speak TLS only, to each other too. */
function tlsSettings(port: number): Record<string, string> {
  return {
    port: '0',
    'tls-port': String(port),
    'tls-cert-file': certs.certFile,
    'tls-key-file': certs.keyFile,
    'tls-ca-cert-file': certs.caFile,
    'tls-auth-clients': 'no',
    'tls-replication': 'yes',
  };
}

interface Pair {
  primary: TestRedis;
  replica: TestRedis;
  sentinel: TestProcess;
  /** The `redis:` of a configuration. */
  config: string;
  /** The replica has all that the primary has. */
  follows(): Promise<boolean>;
}

/** A primary, a replica, and a Sentinel that is alone and needs nobody's vote. */
async function startPair(options: { tls: boolean }): Promise<Pair> {
  const server = async (): Promise<TestRedis> =>
    startTestRedis({ tcp: true, ...(options.tls ? { settings: tlsSettings } : {}) });
  const [primary, replica] = [await server(), await server()];
  await replica.command('REPLICAOF', '127.0.0.1', String(primary.port));
  const follows = async () => (await primary.command('WAIT', '1', '1000')) === '1';
  await until('the replica follows', follows);

  const { program, name } = await findTestServer();
  const [dir, port] = [tempDir(), await freePort()];
  const listen = options.tls ? tlsSettings(port) : { port: String(port) };
  await writeFile(
    join(dir, 'sentinel.conf'),
    [
      ...Object.entries(listen).map((setting) => setting.join(' ')),
      'bind 127.0.0.1',
      `dir ${dir}`,
      `sentinel monitor ferry 127.0.0.1 ${primary.port} 1`,
      // A replica without its primary for ten times as long would not be chosen.
      'sentinel down-after-milliseconds ferry 3000',
      'sentinel failover-timeout ferry 5000',
      '',
    ].join('\n'),
  );
  const args = [join(dir, 'sentinel.conf'), '--sentinel'];
  const sentinel = start(program, args, { cwd: dir, argv0: name });
  await sentinel.line(/\+slave slave /);
  const sentinels = `sentinels: {name: ferry, hosts: ["127.0.0.1:${port}"]}`;
  const config = options.tls ? `{${sentinels}, tls: {ca: ${certs.caFile}}}` : `{${sentinels}}`;
  return { primary, replica, sentinel, config, follows };
}

/** A far side that takes everything and answers nothing, and knows who was there at once. */
async function startSilent(site: Site): Promise<Silent> {
  const settings = {
    cert: await readFile(site.path('cert.pem')),
    key: await readFile(site.path('cert.key')),
  };
  const senders = new Set<TLSSocket>();
  const silent: Silent = {
    port: 0,
    sends: 0,
    atOnce: 0,
    async close() {
      for (const socket of senders) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  const server = createServer(settings, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      senders.add(socket);
      silent.sends += 1;
      silent.atOnce = Math.max(silent.atOnce, senders.size);
    });
    for (const end of ['end', 'close'] as const) socket.on(end, () => senders.delete(socket));
    socket.resume();
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  silent.port = typeof address === 'object' && address !== null ? address.port : 0;
  return silent;
}

interface Silent {
  port: number;
  /** Connections that sent something, and how many of them there were at the same time. */
  sends: number;
  atOnce: number;
  close(): Promise<void>;
}

/** Registers the tests; they wait for leases most of the time, so they run at once. */
export function sentinelTests(): void {
  it('by Sentinel over TLS, to a replica that lagged: nothing is lost, doubled or out of order', async () => {
    const { primary, replica, sentinel, config, follows } = await startPair({ tls: true });
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port: receiver.port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
      redis: config,
    });
    const producer = await site.start('producer');
    const workers = [await site.start('worker'), await site.start('worker')];
    const writer = new Writer(site.path('fifo/foo'));
    const commits = async (count: number): Promise<void> => {
      for (let commit = 0; commit < count; commit += 1) await writer.commit();
    };
    await commits(3);
    await site.arrived('foo', writer.written);
    await until('the replica knows it', follows);

    // From here on the replica hears nothing: neither of what is confirmed nor of what waits.
    replica.pause();
    await primary.command('CLIENT', 'KILL', 'TYPE', 'replica');
    await commits(5);
    await site.arrived('foo', writer.written);
    await until('the acks are in the spool', async () => {
      const route = await site.route('foo@replica');
      return route.state === 'idle' && route.pendingBatches === 0;
    });
    await receiver.process.kill('SIGTERM');
    await commits(3);
    await until('some are accepted', async () => {
      const route = await site.route('foo@replica');
      return route.state === 'retrying' && route.attempts > 0;
    });
    await primary.kill();
    replica.resume();
    await sentinel.line(/\+switch-master /, 60_000);
    await commits(2);
    await site.startReceiver(receiver.port);
    await site.arrived('foo', writer.written);
    const audit = await readFile(site.path('state/audit.log'), 'utf8');
    assert.match(audit, /"event":"redis-loss"/, 'the replica had all of it: nothing was tested');

    for (const role of [producer, ...workers]) await role.kill('SIGTERM');
  });

  it('by Sentinel, to a replica that has no replicas and did not hear of a send: nobody sends the same until that one has ended', async () => {
    // It syncs always and stands alone, as a server does that was merely restarted; once its
    // routes were opened without waiting for the lease that it had never heard of.
    const { primary, replica, sentinel, config, follows } = await startPair({ tls: false });
    const site = await Site.make();
    const silent = await startSilent(site);
    await site.configure({
      destinations: { replica: { port: silent.port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 200ms'],
      redis: config,
    });
    const producer = await site.start('producer');
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await until(
      'it is accepted',
      async () => (await site.route('foo@replica')).state === 'sending',
    );
    await until('the replica knows it', follows);
    replica.pause();
    await primary.command('CLIENT', 'KILL', 'TYPE', 'replica');

    const workers = [await site.start('worker'), await site.start('worker')];
    await until('it is being sent', () => silent.sends === 1);
    await primary.kill();
    replica.resume();
    await sentinel.line(/\+switch-master /, ARRIVAL_MS);
    await until('it is sent again', () => silent.sends > 1, ARRIVAL_MS);
    assert.equal(silent.atOnce, 1);
    const loss = await readFile(site.path('state/audit.log'), 'utf8').catch(() => '');
    assert.doesNotMatch(loss, /redis-loss/, 'the replica lacked more than the lease');

    await silent.close();
    await site.startReceiver(silent.port);
    await site.arrived('foo', writer.written);
    for (const role of [producer, ...workers]) await role.kill('SIGTERM');
  });
}
