import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { FerryError } from '../../src/common/errors.js';
import { connectionsSettled } from '../../src/protocol/index.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import {
  appConfig,
  HEAD,
  KEY,
  open,
  raw,
  receiverConfig,
  STREAM,
  ship,
  TestReceiver,
  tlsConfig,
} from './harness.js';

failOnLeaks();

const running: TestReceiver[] = [];
async function receiver(changes: Parameters<typeof receiverConfig>[0] = {}): Promise<TestReceiver> {
  const one = await new TestReceiver(receiverConfig(changes)).start();
  running.push(one);
  return one;
}
afterEach(async () => {
  await connectionsSettled();
  await Promise.all(running.splice(0).map((one) => one.stop()));
});

/** Received into a file, which shows that it is under way. */
const LARGE_BYTES = 100_000;

describe('the wire as bin/ssl speaks it', () => {
  test('batches are kept in order, byte for byte', async () => {
    const one = await receiver();
    for (const data of ['first', 'second', '\0\xff\n']) {
      const answer = await raw(one.port, [
        HEAD,
        KEY,
        `${data.length}\n`,
        Buffer.from(data, 'latin1'),
        'T',
      ]);
      assert.equal(answer, 'T');
    }
    assert.deepEqual(one.batches(), ['first', 'second', '\0\xff\n']);
    assert.deepEqual(one.parts(), []);
  });

  test('a blob is kept under its path, the last one wins', async () => {
    const one = await receiver();
    for (const data of ['old', 'newer']) {
      await raw(one.port, [HEAD, KEY, `1/2/3.jpg\n${data.length}\n${data}T`]);
    }
    assert.equal(one.blob('1/2/3.jpg'), 'newer');
    assert.deepEqual(one.parts(), []);
  });

  test('a journal of length 0 is acked and nothing is kept', async () => {
    const one = await receiver();
    assert.equal(await raw(one.port, [HEAD, KEY, '0\nT']), 'T');
    assert.deepEqual(one.batches(), []);
  });

  test('an empty blob is a blob', async () => {
    const one = await receiver();
    assert.equal(await raw(one.port, [HEAD, KEY, 'e\n0\nT']), 'T');
    assert.equal(one.blob('e'), '');
  });

  test('in the 2015 dialect a blob ends with the connection', async () => {
    const one = await receiver({ dialect: 'eof' });
    assert.equal(await raw(one.port, [HEAD, KEY, 'a/b\nsome bytes'], { halfClose: true }), '');
    assert.equal(one.blob('a/b'), 'some bytes');
    assert.equal(await raw(one.port, [HEAD, KEY, '3\nabcT']), 'T');
    assert.deepEqual(one.batches(), ['abc']);
  });

  test('our sender and our receiver agree in both dialects', async () => {
    for (const dialect of ['acked', 'eof'] as const) {
      const one = await receiver({ dialect });
      await ship(one.port, 'batch', undefined, undefined, { dialect });
      await ship(one.port, 'blob', undefined, 'x/y', { dialect });
      assert.deepEqual(one.batches(), ['batch']);
      assert.equal(one.blob('x/y'), 'blob');
    }
  });
});

describe('what is refused leaves nothing behind', () => {
  const SILENT: readonly [name: string, parts: readonly string[], halfClose?: true][] = [
    ['a wrong key', [HEAD, 'another key\n', '3\nabcT']],
    ['a key without its newline', [HEAD, KEY.trimEnd(), '3\nabcT'], true],
    ['an empty key', [HEAD, '\n', '3\nabcT']],
    ['a length that is too long', [HEAD, KEY, '9\nabcT'], true],
    ['a length that is too short', [HEAD, KEY, '2\nabcT']],
    ['another byte than T', [HEAD, KEY, '3\nabcX']],
    ['something behind the T', [HEAD, KEY, '3\nabcTT']],
    ['a connection cut in the data', [HEAD, KEY, '1000\nabc'], true],
    ['a connection cut before the T', [HEAD, KEY, '3\nabc'], true],
    ['a signed length', [HEAD, KEY, '+3\nabcT']],
    ['a length beyond the safe integers', [HEAD, KEY, '99999999999999999999\nabcT']],
    ['a blob length that is no number', [HEAD, KEY, 'path\nx\nabcT']],
    ['garbage', ['\x16\x03\x01 garbage\n\n\n']],
    ['a POST', ['POST /foo.r/!replica HTTP/1.0\r\n\r\n', KEY, '3\nabcT']],
    ['an endless line', [`GET /foo.r/${'x'.repeat(100_000)}`]],
    ['endless headers', [HEAD.slice(0, -2), 'A: b\r\n'.repeat(100), '\r\n']],
  ];
  for (const [name, parts, halfClose] of SILENT) {
    test(`${name}: closed without a byte`, async () => {
      const one = await receiver();
      const answer = await raw(one.port, parts, { halfClose: halfClose ?? false });
      assert.equal(answer, '');
      assert.deepEqual(one.batches(), []);
      assert.deepEqual(one.parts(), []);
      assert.deepEqual(readdirSync(join(one.folder(), 'blobs')), []);
    });
  }

  test('an unknown app is a 404', async () => {
    const one = await receiver();
    const answer = await raw(one.port, ['GET /bar.r/!replica HTTP/1.0\r\n\r\n', KEY, '3\nabcT']);
    assert.match(answer, /^HTTP\/1\.0 404 Not Found\r\n/);
  });

  for (const path of ['../x', 'a/../../x', '/etc/x', 'a//b', './x', 'a/', 'x\x01y', 'a\0b', '..']) {
    test(`the blob path ${JSON.stringify(path)} is a 403`, async () => {
      const one = await receiver();
      const answer = await raw(one.port, [HEAD, KEY, `${path}\n3\nabcT`]);
      assert.match(answer, /^HTTP\/1\.0 403 /);
      assert.deepEqual(readdirSync(join(one.folder(), 'blobs')), []);
      assert.deepEqual(one.parts(), []);
    });
  }

  test('a malformed identity is a 400', async () => {
    const { port } = await receiver();
    for (const value of ['abc', '"x.1.0"', `"${STREAM}.1.1"`, `"${STREAM}.01.0"`]) {
      const head = HEAD.replace('\r\n\r\n', `\r\nIdempotency-Key: ${value}\r\n\r\n`);
      assert.match(await raw(port, [head, KEY, '1\nxT']), /^HTTP\/1\.0 400 /);
    }
  });

  test('a blob does not follow a link out of the blob folder', async () => {
    const one = await receiver();
    const outside = tempDir();
    writeFileSync(join(outside, 'file'), 'mine');
    symlinkSync(outside, join(one.folder(), 'blobs', 'link'));
    assert.match(await raw(one.port, [HEAD, KEY, 'link/file\n3\nabcT']), /^HTTP\/1\.0 403 /);
    assert.deepEqual(readdirSync(outside), ['file']);
    symlinkSync(join(outside, 'file'), join(one.folder(), 'blobs', 'direct'));
    assert.equal(await raw(one.port, [HEAD, KEY, 'direct\n3\nabcT']), 'T');
    assert.equal(one.blob('direct'), 'abc');
    mkdirSync(join(one.folder(), 'blobs', 'folder'));
    assert.match(await raw(one.port, [HEAD, KEY, 'folder\n3\nabcT']), /^HTTP\/1\.0 403 /);
    assert.deepEqual(one.parts(), []);
  });

  test('limits of batch and blob are a 413, announced or not', async () => {
    const limits = { maxBatchBytes: 10, maxBlobBytes: 5, idleMs: 2_000, connections: 8 };
    const one = await receiver({ limits });
    assert.match(await raw(one.port, [HEAD, KEY, '11\n']), /^HTTP\/1\.0 413 /);
    assert.match(await raw(one.port, [HEAD, KEY, 'b\n6\n']), /^HTTP\/1\.0 413 /);
    const eof = await receiver({ limits, dialect: 'eof' });
    assert.match(await raw(eof.port, [HEAD, KEY, 'b\n1234567']), /^HTTP\/1\.0 413 /);
    assert.deepEqual(eof.parts(), []);
  });

  test('a silent client is ended after the idle limit', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 100, connections: 8 };
    const one = await receiver({ limits });
    assert.equal(await raw(one.port, [HEAD, KEY, '100\nabc']), '');
    assert.equal(await raw(one.port, [HEAD]), '');
    assert.deepEqual(one.parts(), []);
  });

  test('a connection with a key keeps its place: what comes beyond the limit is dropped', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 2_000, connections: 1 };
    const one = await receiver({ limits });
    const socket = await open(one.port);
    const data = 'a'.repeat(LARGE_BYTES);
    socket.write(`${HEAD}${KEY}${LARGE_BYTES}\n${data.slice(1)}`);
    await until('its key is proved', () => one.parts().length === 1);
    await assert.rejects(open(one.port));
    const over = new Promise((resolve) => socket.once('data', resolve));
    socket.write('aT');
    await over;
    socket.destroy();
    assert.deepEqual(one.batches(), [data]);
  });

  test('connections that have shown no key make room for new ones, the oldest first', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 10_000, connections: 3 };
    const one = await receiver({ limits });
    const silent: TLSSocket[] = [];
    for (let n = 0; n < 3; n += 1) silent.push(await open(one.port));
    const ended = silent.map((socket) => {
      return new Promise<void>((resolve) => socket.once('close', () => resolve()));
    });
    await ship(one.port, 'honest');
    assert.deepEqual(one.batches(), ['honest']);
    await ended[0];
    assert.deepEqual(
      silent.map((socket) => socket.destroyed),
      [true, false, false],
    );
    for (const socket of silent) socket.destroy();
    await Promise.all(ended);
  });
});

describe('set-up', () => {
  test('an app of * takes any safe name, each in a folder of its own', async () => {
    const config = receiverConfig();
    const [app] = config.apps;
    assert.ok(app);
    const one = await receiver({ apps: [{ ...app, name: '*' }] });
    for (const name of ['a.r', 'b']) {
      await raw(one.port, [`GET /${name}/!replica HTTP/1.0\r\n\r\n`, KEY, '1\nxT']);
    }
    assert.deepEqual([one.batches('a.r'), one.batches('b')], [['x'], ['x']]);
    for (const name of ['..', '.hidden', 'a..b', 'x'.repeat(200), '']) {
      const answer = await raw(one.port, [`GET /${name}/!replica HTTP/1.0\r\n\r\n`, KEY, '1\nxT']);
      assert.match(answer, /^HTTP\/1\.0 404 /, name);
    }
  });

  test('any of several keys is accepted, also one of several lines', async () => {
    const folder = tempDir();
    const keys = ['one\n', 'two\nlines\n'].map((text, i) => {
      const path = join(folder, `key${i}`);
      writeFileSync(path, text);
      return path;
    });
    const one = await receiver({ apps: [appConfig('foo.r', keys)] });
    assert.equal(await raw(one.port, [HEAD, 'one\n', '1\naT']), 'T');
    assert.equal(await raw(one.port, [HEAD, 'two\n', 'lines\n', '1\nbT']), 'T');
    assert.equal(await raw(one.port, [HEAD, 'two\n', '1\ncT']), '');
    assert.deepEqual(one.batches(), ['a', 'b']);
  });

  test('two receivers do not share a data folder', async () => {
    const one = await receiver();
    await assert.rejects(new TestReceiver(one.config).start(), { code: 'DATA_FOLDER_BUSY' });
  });

  for (const [name, change] of [
    ['certificate', { tls: tlsConfig({ certFile: '/no/cert', keyFile: '/no/key' }) }],
    ['key file', { apps: [appConfig('foo.r', ['/no/key'])] }],
    ['app name', { apps: [appConfig('../x', [])] }],
    ['address', { listen: { host: '203.0.113.1', port: 0 } }],
  ] as const) {
    test(`a bad ${name} is an error of usage with a hint, and the folder is free again`, async () => {
      const config = receiverConfig(change);
      for (let n = 0; n < 2; n += 1) {
        const error = await new TestReceiver(config).start().then(
          () => assert.fail('started'),
          (e: unknown) => e,
        );
        assert.ok(error instanceof FerryError, String(error));
        assert.notEqual(error.code, 'DATA_FOLDER_BUSY');
        assert.equal(error.kind, 'usage');
        assert.ok(error.hint);
      }
    });
  }

  test('a stop lets a request that is under way finish', async () => {
    const one = await receiver();
    const socket = await open(one.port);
    let answer = '';
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
      socket.end();
    });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const data = 'a'.repeat(LARGE_BYTES);
    socket.write(`${HEAD}${KEY}${LARGE_BYTES}\n${data.slice(1)}`);
    await until('it is under way', () => one.parts().length === 1);
    const stopped = one.stop();
    socket.write('aT');
    await Promise.all([stopped, closed]);
    assert.equal(answer, 'T');
    assert.deepEqual(one.batches(), [data]);
  });
});
