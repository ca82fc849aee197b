import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import type { ReceiverConfig } from '../../src/config/model.js';
import { connectionsSettled } from '../../src/protocol/index.js';
import { testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { BIN_SSL, freePort, startGate, stopGate } from '../support/picolisp.js';
import { start, until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import { claim, HEAD, KEY, raw, receiverConfig, ship, TestReceiver } from './harness.js';

failOnLeaks();

const running: TestReceiver[] = [];
async function receiver(changes: Partial<ReceiverConfig>): Promise<TestReceiver> {
  const one = await new TestReceiver(receiverConfig(changes)).start();
  running.push(one);
  return one;
}
afterEach(async () => {
  await connectionsSettled();
  await Promise.all(running.splice(0).map((one) => one.stop()));
});

const LOOPBACK = [{ address: '127.0.0.1', bits: 32 }];
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** A PROXY protocol v2 header. */
function header(command: number, family: number, rest: Buffer): Buffer {
  const fixed = Buffer.from([command, family, rest.length >> 8, rest.length & 0xff]);
  return Buffer.concat([SIGNATURE, fixed, rest]);
}

const FROM_V4 = header(0x21, 0x11, Buffer.from([203, 0, 113, 7, 10, 0, 0, 1, 1, 2, 3, 4]));
const FROM_V6 = header(
  0x21,
  0x21,
  Buffer.from(`20010db8${'00'.repeat(11)}07${'00'.repeat(16)}01020304`, 'hex'),
);
const HEALTH_CHECK = header(0x20, 0x00, Buffer.alloc(0));

async function tcp(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  return socket;
}

/** The whole answer to some bytes behind a PROXY header, over TLS. */
async function behindProxy(port: number, front: readonly Buffer[], request: string) {
  const plain = await tcp(port);
  for (const piece of front) {
    plain.write(piece);
    // Each piece is to be a packet of its own.
    await new Promise((resolve) => setImmediate(resolve));
  }
  const socket = connectTls({ socket: plain, ca: testCerts().ca, servername: 'localhost' });
  let answer = '';
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
    if (answer === 'T') socket.end();
  });
  const over = new Promise((resolve) => socket.once('close', resolve));
  socket.write(request);
  await over;
  plain.destroy();
  return answer;
}

describe('behind a balancer that speaks the PROXY protocol', () => {
  for (const [name, front, peer] of [
    ['IPv4', FROM_V4, '203.0.113.7'],
    ['IPv6', FROM_V6, '2001:db8:0:0:0:0:0:7'],
    ['the balancer itself', HEALTH_CHECK, '127.0.0.1'],
  ] as const) {
    test(`a client is known by its own address, not the balancer’s: ${name}`, async () => {
      const one = await receiver({ proxies: LOOPBACK });
      assert.equal(await behindProxy(one.port, [front], `${HEAD}${KEY}3\nabcT`), 'T');
      assert.equal(await behindProxy(one.port, [front], `${HEAD}another key\n3\nabcT`), '');
      assert.deepEqual(one.batches(), ['abc']);
      assert.deepEqual(one.refusedPeers, [peer]);
    });
  }

  test('the header may come byte by byte, and the handshake in the same packet as its end', async () => {
    const one = await receiver({ proxies: LOOPBACK });
    const bytes = [...FROM_V4].map((byte) => Buffer.from([byte]));
    assert.equal(await behindProxy(one.port, bytes, `${HEAD}${KEY}3\nabcT`), 'T');
    assert.deepEqual(one.batches(), ['abc']);
  });

  test('without TLS, too', async () => {
    const one = await receiver({ proxies: LOOPBACK, tls: null });
    const socket = await tcp(one.port);
    const answer = new Promise((resolve) => socket.once('data', resolve));
    socket.write(Buffer.concat([FROM_V4, Buffer.from(`${HEAD}${KEY}3\nabcT`)]));
    assert.equal(String(await answer), 'T');
    const over = new Promise((resolve) => socket.once('close', resolve));
    socket.end();
    await over;
    assert.deepEqual(one.batches(), ['abc']);
  });

  test('whoever is no listed proxy is not believed, and a listed one must say it', async () => {
    const elsewhere = await receiver({ proxies: [{ address: '10.0.0.0', bits: 8 }] });
    assert.equal(await behindProxy(elsewhere.port, [FROM_V4], `${HEAD}${KEY}3\nabcT`), '');
    await ship(elsewhere.port, 'direct');
    assert.deepEqual(elsewhere.batches(), ['direct']);
    const one = await receiver({ proxies: LOOPBACK });
    await assert.rejects(ship(one.port, 'x'));
    assert.deepEqual(one.batches(), []);
  });

  test('whatever a header holds, it costs one connection and nothing else', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 300, connections: 64 };
    const one = await receiver({ proxies: LOOPBACK, limits });
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.uint8Array({ maxLength: 40 }).map((rest) => Buffer.concat([SIGNATURE, rest])),
      fc
        .tuple(fc.nat(255), fc.nat(255), fc.uint8Array({ maxLength: 60 }))
        .map(([command, family, rest]) => header(command, family, Buffer.from(rest))),
      fc.constant(header(0x21, 0x11, Buffer.alloc(60_000))),
      fc.constant(header(0x21, 0x11, Buffer.alloc(3))),
    );
    const inputs = fc.sample(anything, { numRuns: 60, seed: 7 });
    await Promise.all(
      inputs.map(async (bytes) => {
        const socket = await tcp(one.port);
        const over = new Promise((resolve) => socket.once('close', resolve));
        socket.resume();
        socket.write(bytes);
        await over;
      }),
    );
    await until('all are over', () => one.connections === 0);
    assert.equal(await behindProxy(one.port, [FROM_V4], `${HEAD}${KEY}3\nabcT`), 'T');
  });
});

describe('without TLS, behind the real httpGate', () => {
  test('bin/ssl and our sender deliver, each is known by its own address', async () => {
    const one = await receiver({ tls: null, listen: { host: '::1', port: 0 } });
    const gatePort = await freePort();
    await startGate({ port: one.port, gatePort });
    try {
      // The gate takes the port off the path; what is left names the app.
      const url = `${one.port}/foo.r/!replica`;
      await ship(gatePort, 'ours', claim(1, 0, 'ours'), undefined, { url });
      await ship(gatePort, 'ours', claim(1, 0, 'ours'), undefined, { url });
      await ship(gatePort, 'blob', undefined, 'a/b', { url });

      const folder = tempDir();
      const journal = join(folder, 'journal');
      writeFileSync(journal, 'theirs');
      const key = one.config.apps[0]?.keys[0] ?? '';
      const words = ['localhost', String(gatePort), url, key, journal, '', '1', '0', '+'];
      const daemon = start(BIN_SSL, words, { env: { SSL_CERT_FILE: testCerts().caFile } });
      await until('the journal is empty', () => statSync(journal).size === 0);
      await daemon.kill('SIGTERM');

      await raw(gatePort, [`GET /${url} HTTP/1.0\r\n\r\n`, 'another key\n', '1\nxT']);
      assert.deepEqual(one.batches(), ['ours', 'theirs']);
      assert.equal(one.blob('a/b'), 'blob');
      assert.deepEqual(one.refusedPeers, ['127.0.0.1']);
      assert.equal(readFileSync(journal, 'latin1'), '');
    } finally {
      await stopGate(gatePort);
    }
  });
});
