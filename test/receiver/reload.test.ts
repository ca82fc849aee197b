import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { nodeFileSystem } from '../../src/common/fileSystem.js';
import type { ReceiverConfig } from '../../src/config/model.js';
import { connectionsSettled, type Endpoint } from '../../src/protocol/index.js';
import { TlsSettings } from '../../src/receiver/tlsSettings.js';
import { Site } from '../e2e/site.js';
import { makeCerts, testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { event, until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import { HEAD, KEY, open, raw, receiverConfig, ship, TestReceiver, tlsConfig } from './harness.js';

// Made once, or the first test that needs them would pay for it.
const OTHER = makeCerts({ names: 'DNS:localhost', days: 30 });
failOnLeaks();

const running: TestReceiver[] = [];
async function receiver(changes: Partial<ReceiverConfig> = {}): Promise<TestReceiver> {
  const one = await new TestReceiver(receiverConfig(changes)).start();
  running.push(one);
  return one;
}
afterEach(async () => {
  await connectionsSettled();
  await Promise.all(running.splice(0).map((one) => one.stop()));
});

/** The certificate's files in a folder of their own, to be replaced. */
function ownFiles(): { certFile: string; keyFile: string } {
  const folder = tempDir();
  const files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
  install(testCerts(), files);
  return files;
}

function install(
  from: { certFile: string; keyFile: string },
  to: { certFile: string; keyFile: string },
): void {
  copyFileSync(from.certFile, to.certFile);
  copyFileSync(from.keyFile, to.keyFile);
}

const keyFileOf = (one: TestReceiver): string => one.config.apps[0]?.keys[0] ?? '';

/** So large that it is received into a file, which shows that it is under way. */
const HALVES = ['a'.repeat(50_000), 'b'.repeat(50_000)] as const;
const UNDER_WAY = HALVES.join('');

/** A connection that has announced a batch and sent half of it. */
async function halfWay(one: TestReceiver): Promise<TLSSocket> {
  const socket = await open(one.port);
  socket.write(`${HEAD}${KEY}${UNDER_WAY.length}\n${HALVES[0]}`);
  await until('it is under way', () => one.parts().length === 1);
  return socket;
}

async function finish(socket: TLSSocket): Promise<string> {
  const answer = new Promise<string>((resolve) => {
    socket.once('data', (chunk: Buffer) => resolve(chunk.toString('latin1')));
  });
  socket.write(`${HALVES[1]}T`);
  const text = await answer;
  socket.end();
  return text;
}

describe('a reload', () => {
  test('takes the keys that the files hold now; what is under way goes on', async () => {
    const one = await receiver();
    const socket = await halfWay(one);
    writeFileSync(keyFileOf(one), 'a new key\n');
    assert.equal(await raw(one.port, [HEAD, KEY, '1\naT']), 'T', 'not before it is asked for');
    await one.reload();
    assert.equal(await raw(one.port, [HEAD, KEY, '1\nxT']), '');
    assert.equal(await raw(one.port, [HEAD, 'a new key\n', '1\nbT']), 'T');
    assert.equal(await finish(socket), 'T');
    assert.deepEqual(one.batches(), ['a', 'b', UNDER_WAY]);
  });

  test('that finds a file missing or torn changes nothing', async () => {
    const files = ownFiles();
    const one = await receiver({ tls: tlsConfig(files) });
    const key = readFileSync(keyFileOf(one));
    unlinkSync(keyFileOf(one));
    await assert.rejects(one.reload(), { code: 'KEY_FILE_MISSING' });
    writeFileSync(keyFileOf(one), key);
    copyFileSync(OTHER.certFile, files.certFile);
    await assert.rejects(one.reload(), { code: 'TLS_FILES_INVALID' });
    writeFileSync(files.certFile, 'half a certi');
    await assert.rejects(one.reload(), { code: 'TLS_FILES_INVALID' });
    await ship(one.port, 'as before');
    assert.deepEqual(one.batches(), ['as before']);
  });

  test('shows the new certificate to who connects then, and leaves open connections alone', async () => {
    const files = ownFiles();
    const one = await receiver({ tls: tlsConfig(files) });
    const socket = await halfWay(one);
    install(OTHER, files);
    await one.reload();
    const trusting: Partial<Endpoint> = { tls: { verify: true, ca: OTHER.ca, servername: null } };
    await ship(one.port, 'new', undefined, undefined, trusting);
    await assert.rejects(ship(one.port, 'old'), { code: 'CERTIFICATE_INVALID' });
    assert.equal(await finish(socket), 'T');
    assert.deepEqual(one.batches(), ['new', UNDER_WAY]);
  });

  test('is what SIGHUP does to ferry receiver', async () => {
    const site = await Site.make();
    const { process: ferry, port } = await site.startReceiver();
    const ca = readFileSync(site.path('cert.pem'));
    const knock = (key: string) =>
      ship(port, 'a', undefined, undefined, {
        key: Buffer.from(key),
        tls: { verify: true, ca, servername: null },
      });
    await knock(site.keyText);
    writeFileSync(site.path('key'), 'a new key\n');
    ferry.signal('SIGHUP');
    await ferry.line(/key files and certificates read again/);
    await assert.rejects(knock(site.keyText), { code: 'CLOSED_WITHOUT_ANSWER' });
    await knock('a new key\n');
    unlinkSync(site.path('key'));
    ferry.signal('SIGHUP');
    await ferry.line(/KEY_FILE_MISSING.*not reloaded: going on as before/);
    await knock('a new key\n');
    await ferry.kill('SIGTERM');
  });
});

describe('the keys of session tickets', () => {
  /** Connects with a session, if there is one; gives the session to go on with. */
  async function session(
    port: number,
    known?: Buffer,
  ): Promise<{ reused: boolean; session: Buffer }> {
    const socket = connect({
      port,
      host: 'localhost',
      ca: testCerts().ca,
      ...(known === undefined ? {} : { session: known }),
    });
    socket.on('error', () => undefined);
    // With TLS 1.3 tickets come after the handshake, and none where one was used.
    const ticket = new Promise<Buffer>((resolve) => socket.once('session', resolve));
    socket.resume();
    await event(socket, 'secureConnect');
    const reused = socket.isSessionReused();
    const given = reused && known !== undefined ? known : await ticket;
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.destroy();
    await closed;
    return { reused, session: given };
  }

  test('outlive a restart, and are replaced when they are old', async () => {
    const one = await receiver();
    const first = await session(one.port);
    await one.stop();
    await one.start();
    const second = await session(one.port, first.session);
    assert.equal(second.reused, true, 'a restart costs no handshake');
    await one.stop();
    const old = new Date(Date.now() - 25 * 3_600_000);
    utimesSync(join(one.config.dataDir, 'ticket.keys'), old, old);
    await one.start();
    const third = await session(one.port, second.session);
    assert.equal(third.reused, false, 'keys of yesterday');
    assert.equal((await session(one.port, third.session)).reused, true);
  });

  test('are looked at while it runs, too', async () => {
    const folder = tempDir();
    const { certFile, keyFile } = testCerts();
    const settings = await TlsSettings.load(
      tlsConfig({ certFile, keyFile }),
      nodeFileSystem,
      folder,
    );
    const before = settings.current.ticketKeys;
    assert.equal(await settings.renewTicketKeys(), null, 'young ones stay');
    const old = new Date(Date.now() - 25 * 3_600_000);
    utimesSync(join(folder, 'ticket.keys'), old, old);
    const renewed = await settings.renewTicketKeys();
    assert.ok(renewed !== null && !renewed.ticketKeys.equals(before));
    assert.equal(await settings.renewTicketKeys(), null);
    assert.ok(settings.current.ticketKeys.equals(renewed.ticketKeys));
  });
});

describe('client certificates', () => {
  test('are asked for where clientCa says so, and only those of its authority are taken', async () => {
    const { certFile, keyFile, caFile, ca, cert, key } = testCerts();
    const one = await receiver({
      tls: { ...tlsConfig({ certFile, keyFile }), clientCaFile: caFile },
    });
    const as = (client: { cert: Buffer; key: Buffer } | null): Partial<Endpoint> => ({
      tls: { verify: true, ca, servername: null, client },
    });
    await ship(one.port, 'ours', undefined, undefined, as({ cert, key }));
    await assert.rejects(ship(one.port, 'no', undefined, undefined, as(null)), {
      code: 'CLIENT_CERTIFICATE_REFUSED',
    });
    // Node ends such a connection without saying why.
    await assert.rejects(
      ship(one.port, 'no', undefined, undefined, as({ cert: OTHER.cert, key: OTHER.key })),
      { code: /^(CLOSED_WITHOUT_ANSWER|CONNECTION_RESET|CLIENT_CERTIFICATE_REFUSED)$/ },
    );
    await ship(one.port, 'again', undefined, undefined, as({ cert, key }));
    assert.deepEqual(one.batches(), ['ours', 'again']);
  });
});
