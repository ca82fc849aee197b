import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { type ClientHttp2Session, connect, constants, type OutgoingHttpHeaders } from 'node:http2';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { formatBatchKey, formatBlobKey, formatDigest } from '../../src/protocol/identityHeaders.js';
import { H2Client } from '../../src/protocol/index.js';
import { testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { FullDisk } from './faults.js';
import {
  claim,
  endpointOf,
  HEAD,
  KEY,
  open,
  raw,
  receiverConfig,
  STREAM,
  settled,
  sha256,
  ship,
  TestReceiver,
} from './harness.js';
import {
  END_STREAM,
  FRAME,
  FrameReader,
  frame,
  headersFrame,
  OPENING,
  requestHeaders,
  resetFrame,
} from './rawH2.js';

const running: TestReceiver[] = [];
const clients: ClientHttp2Session[] = [];
async function receiver(
  changes: Parameters<typeof receiverConfig>[0] = {},
  disk?: FullDisk,
): Promise<TestReceiver> {
  const one = await new TestReceiver(receiverConfig(changes)).start(disk);
  running.push(one);
  return one;
}
const finish = async () => {
  for (const client of clients.splice(0)) client.destroy();
  await settled();
  await Promise.all(running.splice(0).map((one) => one.stop()));
};
afterEach(finish);
after(finish);
failOnLeaks();

const AUTHORIZED = { authorization: `Bearer ${KEY.trimEnd()}` };

interface Answered {
  status: number;
  reason?: string;
  last?: number;
  headers: Record<string, unknown>;
}

function client(port: number): ClientHttp2Session {
  const session = connect(`https://localhost:${port}`, { ca: testCerts().ca });
  session.on('error', () => undefined);
  clients.push(session);
  return session;
}

/** One request with Node's own client. `length: null` announces none. */
function request(
  session: ClientHttp2Session,
  method: string,
  path: string,
  data: string | null,
  headers: OutgoingHttpHeaders = AUTHORIZED,
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': method,
      ':path': path,
      ...(data === null ? {} : { 'content-length': Buffer.byteLength(data) }),
      ...headers,
    });
    let answer = '';
    let status = 0;
    let seen: Record<string, unknown> = {};
    stream.on('response', (got) => {
      status = Number(got[':status']);
      seen = got;
    });
    stream.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
    });
    stream.on('error', reject);
    stream.on('close', () => {
      const problem = answer === '' ? {} : (JSON.parse(answer) as Partial<Answered>);
      resolve({ ...problem, status, headers: seen });
    });
    stream.end(data ?? undefined);
  });
}

describe('what is refused over HTTP/2 says why and leaves nothing behind', () => {
  const batchKey = { 'idempotency-key': formatBatchKey(claim(1, 0, 'abc')) };
  const blobKey = { 'idempotency-key': formatBlobKey({ stream: STREAM, version: 1 }) };
  const ROWS: readonly [
    name: string,
    method: string,
    path: string,
    data: string | null,
    headers: OutgoingHttpHeaders,
    status: number,
    reason: string,
  ][] = [
    ['no key', 'POST', '/foo.r', 'abc', {}, 401, 'no-key'],
    ['another scheme', 'POST', '/foo.r', 'abc', { authorization: 'Basic eDp5' }, 401, 'no-key'],
    ['a wrong key', 'POST', '/foo.r', 'abc', { authorization: 'Bearer x' }, 403, 'wrong-key'],
    ['a key and more', 'POST', '/foo.r', 'abc', moreThanTheKey(), 403, 'wrong-key'],
    ['an unknown app', 'POST', '/bar.r', 'abc', AUTHORIZED, 404, 'unknown-app'],
    ['an unknown app, no key', 'POST', '/bar.r', 'abc', {}, 404, 'unknown-app'],
    ['a further part of the path', 'POST', '/foo.r/x', 'abc', AUTHORIZED, 404, 'unknown-app'],
    ['a query', 'POST', '/foo.r?x=y', 'abc', AUTHORIZED, 404, 'unknown-app'],
    ['no path', 'POST', '/', 'abc', AUTHORIZED, 404, 'unknown-app'],
    ['a GET', 'GET', '/foo.r', null, AUTHORIZED, 405, 'method'],
    ['a PUT of a batch', 'PUT', '/foo.r', 'abc', AUTHORIZED, 405, 'method'],
    ['a POST of a blob', 'POST', '/foo.r/blobs/x', 'abc', AUTHORIZED, 405, 'method'],
    ['encoded content', 'POST', '/foo.r', 'abc', encoded(), 415, 'encoded'],
    ['a digest of other bytes', 'POST', '/foo.r', 'abc', digestOf('x'), 422, 'corrupted'],
    ['a malformed digest', 'POST', '/foo.r', 'abc', digestOf(null), 400, 'malformed-identity'],
    ['a malformed identity', 'POST', '/foo.r', 'abc', key('"x.1.0"'), 400, 'malformed-identity'],
    ['two identities', 'POST', '/foo.r', 'abc', key(twice()), 400, 'malformed-identity'],
    ['a blob’s identity', 'POST', '/foo.r', 'abc', with_(blobKey), 400, 'malformed-identity'],
    [
      'a batch’s identity',
      'PUT',
      '/foo.r/blobs/x',
      'a',
      with_(batchKey),
      400,
      'malformed-identity',
    ],
    ['an empty batch with identity', 'POST', '/foo.r', '', with_(batchKey), 409, 'empty'],
    ['an unknown stream', 'POST', '/foo.r', 'a', key(`"${STREAM}.9.8"`), 409, 'unknown-stream'],
    ...[
      '',
      '../x',
      '%2e%2e/x',
      '..%2Fx',
      'a/%2E%2E/x',
      '%2Fx',
      'a//b',
      'a%00b',
      '%ff',
      '%',
      '12',
    ].map((path): [string, string, string, string, OutgoingHttpHeaders, number, string] => [
      `the blob path ${JSON.stringify(path)}`,
      'PUT',
      `/foo.r/blobs/${path}`,
      'abc',
      AUTHORIZED,
      403,
      'blob-path',
    ]),
  ];
  function moreThanTheKey(): OutgoingHttpHeaders {
    return { authorization: `${AUTHORIZED.authorization}x` };
  }
  function with_(more: OutgoingHttpHeaders): OutgoingHttpHeaders {
    return { ...AUTHORIZED, ...more };
  }
  function encoded(): OutgoingHttpHeaders {
    return with_({ 'content-encoding': 'gzip' });
  }
  function digestOf(data: string | null): OutgoingHttpHeaders {
    return with_({ 'content-digest': data === null ? 'md5=:x:' : formatDigest(sha256(data)) });
  }
  function key(value: string): OutgoingHttpHeaders {
    return with_({ 'idempotency-key': value });
  }
  function twice(): string {
    return `${batchKey['idempotency-key']}, ${batchKey['idempotency-key']}`;
  }

  test('one connection sees them all', async () => {
    const one = await receiver();
    let session = client(one.port);
    for (const [name, method, path, data, headers, status, reason] of ROWS) {
      // Wrong keys are counted by connection.
      if (status === 401) session = client(one.port);
      const answered = await request(session, method, path, data, headers);
      assert.deepEqual([answered.status, answered.reason], [status, reason], name);
      assert.equal(answered.headers['content-type'], 'application/problem+json');
      if (status === 401) assert.equal(answered.headers['www-authenticate'], 'Bearer');
    }
    assert.equal((await request(session, 'POST', '/foo.r', 'abc')).status, 204);
    assert.deepEqual(one.batches(), ['abc']);
    assert.deepEqual(one.parts(), []);
    assert.deepEqual(readdirSync(join(one.folder(), 'blobs')), []);
  });

  test('no announced length is a 411', async () => {
    const one = await receiver();
    const session = client(one.port);
    const stream = session.request({ ':method': 'POST', ':path': '/foo.r', ...AUTHORIZED });
    const [status] = await new Promise<[number]>((resolve) => {
      stream.on('response', (headers) => resolve([Number(headers[':status'])]));
      stream.write('abc');
    });
    stream.close();
    assert.equal(status, 411);
    assert.deepEqual(one.batches(), []);
  });

  test('limits are a 413 before anything was sent', async () => {
    const limits = { maxBatchBytes: 10, maxBlobBytes: 5, idleMs: 2_000, connections: 8 };
    const one = await receiver({ limits });
    const session = client(one.port);
    assert.equal((await request(session, 'POST', '/foo.r', 'x'.repeat(11))).status, 413);
    assert.equal((await request(session, 'PUT', '/foo.r/blobs/b', 'x'.repeat(6))).status, 413);
    assert.deepEqual(one.parts(), []);
  });

  test('a full disk is a 507, another failure of it a 503', async () => {
    const disk = new FullDisk();
    const one = await receiver({}, disk);
    const session = client(one.port);
    disk.failing.add('writev');
    const full = await request(session, 'POST', '/foo.r', 'abc');
    assert.deepEqual([full.status, full.reason], [507, 'storage']);
    disk.failing.clear();
    assert.equal((await request(session, 'POST', '/foo.r', 'abc')).status, 204);
    assert.deepEqual(one.batches(), ['abc']);
  });
});

describe('a request without identity', () => {
  test('is numbered as it comes, as from bin/ssl', async () => {
    const one = await receiver();
    const session = client(one.port);
    for (const data of ['one', 'two', 'two']) {
      assert.equal((await request(session, 'POST', '/foo.r', data)).status, 204);
    }
    assert.equal(await raw(one.port, [HEAD, KEY, '3\noldT']), 'T');
    assert.deepEqual(one.batches(), ['one', 'two', 'two', 'old']);
    for (const data of ['old', 'new']) await request(session, 'PUT', '/foo.r/blobs/a/b', data);
    assert.equal(one.blob('a/b'), 'new');
  });

  test('decodes the path of a blob once', async () => {
    const one = await receiver();
    const session = client(one.port);
    const answered = await request(session, 'PUT', '/foo.r/blobs/a%20b/%252e%252e%2Fc', 'abc');
    assert.equal(answered.status, 204);
    assert.equal(one.blob('a b/%2e%2e/c'), 'abc');
  });
});

/** In frames that any receiver takes; together too much to be gathered in memory. */
const PIECE_BYTES = 16_000;
const PIECES = 5;
const LARGE_BYTES = PIECE_BYTES * PIECES;

describe('before the end of a stream nothing is committed', () => {
  const header = headersFrame(1, requestHeaders(3));
  const data = (text: string, flags = 0) => frame(FRAME.data, flags, 1, Buffer.from(text));

  /** Everything written here has been looked at when the ping is answered. */
  async function looked(socket: Awaited<ReturnType<typeof open>>, reader: FrameReader) {
    socket.write(frame(FRAME.ping, 0, 0, Buffer.from('lookedat')));
    await reader.first(({ type, flags }) => type === FRAME.ping && flags === 1);
  }

  for (const code of [constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_CANCEL]) {
    test(`all announced bytes and then a reset with code ${code} leave nothing`, async () => {
      const one = await receiver();
      const socket = await open(one.port, ['h2']);
      const reader = new FrameReader(socket);
      socket.write(Buffer.concat([OPENING, header, data('abc')]));
      await looked(socket, reader);
      socket.write(resetFrame(1, code));
      await looked(socket, reader);
      assert.deepEqual(one.batches(), []);
      // The connection lives on.
      const next = Buffer.concat([
        headersFrame(3, requestHeaders(3)),
        frame(FRAME.data, END_STREAM, 3, Buffer.from('xyz')),
      ]);
      socket.write(next);
      await reader.first(({ type, stream }) => type === FRAME.headers && stream === 3);
      assert.deepEqual(one.batches(), ['xyz']);
      socket.destroy();
    });
  }

  test('an end before all announced bytes is no end', async () => {
    const one = await receiver();
    const socket = await open(one.port, ['h2']);
    const reader = new FrameReader(socket);
    socket.write(Buffer.concat([OPENING, header, data('ab', END_STREAM)]));
    const answer = await reader.first(({ type }) => type === FRAME.reset);
    assert.notEqual(answer, null);
    await looked(socket, reader);
    assert.deepEqual(one.batches(), []);
    socket.destroy();
  });

  test('a client of Node that cancels ends its body first, so one byte held back is what counts', async () => {
    const one = await receiver();
    const session = client(one.port);
    const headers = { ':method': 'POST', ':path': '/foo.r', ...AUTHORIZED, 'content-length': 3 };
    const all = session.request(headers);
    all.on('error', () => undefined);
    await new Promise((resolve) => all.write('abc', resolve));
    all.close(constants.NGHTTP2_CANCEL);
    const held = session.request(headers);
    held.on('error', () => undefined);
    await new Promise((resolve) => held.write('xy', resolve));
    held.close(constants.NGHTTP2_CANCEL);
    await request(session, 'POST', '/foo.r', 'end');
    // Whether the first was committed is a race that we must not enter.
    assert.ok(!one.batches().some((batch) => batch.startsWith('xy')));
  });
});

async function* repeated(piece: Buffer, times: number): AsyncIterable<Uint8Array> {
  for (let n = 0; n < times; n += 1) yield piece;
}

describe('one connection', () => {
  test('carries hundreds of batches at once', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 10_000, connections: 300 };
    const one = await receiver({ limits });
    const names = Array.from({ length: 300 }, (_, i) => sha256(`${i}`).slice(0, 32));
    await Promise.all(
      names.map((stream) => {
        const data = `${stream} 1`;
        return ship(one.port, data, claim(1, 0, data, stream), undefined, { dialect: 'h2' });
      }),
    );
    assert.deepEqual(one.batches().sort(), names.map((stream) => `${stream} 1`).sort());
  });

  test('that has carried thousands of requests is not taken for an attack by resets', async () => {
    const one = await receiver();
    const before = one.refusals.length;
    // Every finished request was reset once more: after a thousand, nghttp2 ended the connection.
    const sender = async () => {
      for (let n = 0; n < 50; n += 1) {
        await ship(one.port, 'abc', claim(1, 0, 'abc'), undefined, { dialect: 'h2' });
      }
    };
    await Promise.all(Array.from({ length: 50 }, sender));
    assert.deepEqual(one.batches(), ['abc']);
    assert.equal(one.refusals.length, before);
  });

  test('gives a large batch no more room than its window and what is being written', async () => {
    const disk = new FullDisk();
    const one = await receiver({}, disk);
    disk.writeMs = 20;
    const piece = Buffer.alloc(128 * 1024, 'x');
    const bytes = 100 * piece.length;
    let leadMax = 0;
    const sender = new H2Client();
    await sender.send({
      endpoint: endpointOf(one.port, { dialect: 'h2' }),
      body: { kind: 'batch' },
      bytes,
      payload: repeated(piece, 100),
      mayConfirm: () => true,
      signal: new AbortController().signal,
      onProgress: (sent) => {
        leadMax = Math.max(leadMax, sent - disk.writtenBytes);
      },
    });
    await sender.close();
    assert.equal(one.batches()[0]?.length, bytes);
    // 1 MiB of window, two gatherings of 512 KiB, and what TLS and kernel hold: not the whole.
    assert.ok(leadMax < 4 * 1024 * 1024, `${leadMax} bytes ahead`);
  });

  test('turns away what is more than the receiver may serve, and says that it looked at nothing', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 10_000, connections: 2 };
    const one = await receiver({ limits });
    const sockets = [await open(one.port, ['h2']), await open(one.port, ['h2'])];
    const readers = sockets.map((socket) => new FrameReader(socket));
    const [first, second] = sockets;
    // On two connections, so that it is not the connection's own limit.
    first?.write(
      Buffer.concat([
        OPENING,
        headersFrame(1, requestHeaders(LARGE_BYTES)),
        headersFrame(3, requestHeaders(LARGE_BYTES)),
      ]),
    );
    await until('both are being received', () => one.parts().length === 2);
    second?.write(Buffer.concat([OPENING, headersFrame(1, requestHeaders(3))]));
    const refused = await readers[1]?.first(({ type }) => type === FRAME.reset);
    assert.equal(refused?.payload.readUInt32BE(), constants.NGHTTP2_REFUSED_STREAM);
    for (const socket of sockets) socket.destroy();
  });

  test('without a request is ended after the idle limit, also when it is pinged', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 300, connections: 8 };
    const one = await receiver({ limits });
    const session = client(one.port);
    const closed = new Promise<void>((resolve) => session.once('close', () => resolve()));
    await request(session, 'POST', '/foo.r', 'abc');
    const ping = setInterval(() => {
      if (!session.destroyed) session.ping(() => undefined);
    }, 50);
    await closed;
    clearInterval(ping);
  });

  test('that sends nothing of an announced body gets a 408, and lives on', async () => {
    const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: 300, connections: 8 };
    const one = await receiver({ limits });
    const session = client(one.port);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/foo.r',
      ...AUTHORIZED,
      'content-length': 10,
    });
    stream.on('error', () => undefined);
    const status = new Promise<number>((resolve) => {
      stream.once('response', (headers) => resolve(Number(headers[':status'])));
    });
    stream.write('abc');
    assert.equal(await status, 408);
    assert.equal((await request(session, 'POST', '/foo.r', 'abc')).status, 204);
    assert.deepEqual(one.parts(), []);
  });

  for (const [what, path] of [
    ['wrong keys', () => '/foo.r'],
    ['apps that nobody knows', (n: number) => `/nobody${n}`],
  ] as const) {
    test(`is closed after ten ${what}`, async () => {
      const one = await receiver();
      const session = client(one.port);
      const goaway = new Promise<number>((resolve) => session.once('goaway', resolve));
      const closed = new Promise<void>((resolve) => session.once('close', () => resolve()));
      for (let n = 0; n < 10; n += 1) {
        const headers = { authorization: `Bearer ${n}` };
        await request(session, 'POST', path(n), 'abc', headers).catch(() => undefined);
      }
      assert.equal(await goaway, constants.NGHTTP2_ENHANCE_YOUR_CALM);
      await closed;
      assert.deepEqual(one.batches(), []);
    });
  }

  test('finishes what it has begun when the receiver stops, and takes nothing new', async () => {
    const one = await receiver();
    const socket = await open(one.port, ['h2']);
    const reader = new FrameReader(socket);
    socket.write(Buffer.concat([OPENING, headersFrame(1, requestHeaders(LARGE_BYTES))]));
    await until('it is being received', () => one.parts().length === 1);
    const stopped = one.stop();
    const goaway = await reader.first(({ type }) => type === FRAME.goaway);
    assert.equal(goaway?.payload.readUInt32BE(0), 1);
    socket.write(
      Buffer.concat([
        headersFrame(3, requestHeaders(3)),
        frame(FRAME.data, END_STREAM, 3, Buffer.from('new')),
        ...Array.from({ length: PIECES }, (_, i) =>
          frame(FRAME.data, i === PIECES - 1 ? END_STREAM : 0, 1, Buffer.alloc(PIECE_BYTES, 'o')),
        ),
      ]),
    );
    const answer = await reader.first(({ type, stream }) => type === FRAME.headers && stream === 1);
    assert.notEqual(answer, null);
    await stopped;
    assert.deepEqual(one.batches(), ['o'.repeat(LARGE_BYTES)]);
    assert.ok(!reader.frames.some(({ stream }) => stream === 3));
  });
});

describe('floods end in the end of their connection, and others go on', () => {
  const header = block_();
  function block_(): Buffer {
    return headersFrame(1, requestHeaders(3), 0);
  }
  const FLOODS: readonly [name: string, before: Buffer, again: (n: number) => Buffer][] = [
    [
      'of requests that are taken back at once',
      OPENING,
      (n) => Buffer.concat([headersFrame(2 * n + 1, requestHeaders(3)), resetFrame(2 * n + 1)]),
    ],
    [
      'of headers that go on and on',
      Buffer.concat([OPENING, header]),
      () => frame(FRAME.continuation, 0, 1, Buffer.from([0x10, 1, 0x61, 1, 0x62])),
    ],
    ['of settings', OPENING, () => frame(FRAME.settings, 0, 0, Buffer.alloc(0))],
    ['of pings', OPENING, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
    ['of frames on streams that never were', OPENING, () => resetFrame(99)],
  ];
  for (const [name, before, again] of FLOODS) {
    test(name, async () => {
      const one = await receiver();
      const socket = await open(one.port, ['h2']);
      // It does not read: answers that nobody takes must not pile up.
      socket.pause();
      let over = false;
      socket.once('close', () => {
        over = true;
      });
      socket.once('error', () => {
        over = true;
      });
      socket.write(before);
      const end = performance.now() + 20_000;
      for (let n = 0; !over && performance.now() < end; n += 100) {
        const many = Array.from({ length: 100 }, (_, i) => again(n + i));
        await new Promise<unknown>((resolve) => {
          socket.write(Buffer.concat(many), resolve);
        });
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok(over, 'the receiver goes on with it');
      await ship(one.port, 'abc', claim(1, 0, 'abc'), undefined, { dialect: 'h2' });
      await until('nothing is left of it', () => one.parts().length === 0);
      assert.deepEqual(one.batches(), ['abc']);
    });
  }
});

describe('which wire it is', () => {
  const ask = (port: number, alpn: string[]) =>
    new Promise<string | false>((resolve, reject) => {
      const socket = connectTls({ port, ca: testCerts().ca, ALPNProtocols: alpn }, () => {
        resolve(socket.alpnProtocol ?? false);
        socket.destroy();
      });
      socket.once('error', reject);
    });

  test('is asked for in the handshake: nothing and http/1.1 are the old one', async () => {
    const one = await receiver();
    assert.equal(await ask(one.port, ['h2']), 'h2');
    assert.equal(await ask(one.port, ['http/1.1', 'h2']), 'h2');
    assert.equal(await ask(one.port, ['http/1.1']), 'http/1.1');
    await assert.rejects(ask(one.port, ['spdy/3']));
    const socket = await open(one.port, ['http/1.1']);
    socket.write(`${HEAD}${KEY}3\nabcT`);
    assert.equal(String((await new Promise((resolve) => socket.once('data', resolve))) ?? ''), 'T');
    socket.destroy();
    assert.deepEqual(one.batches(), ['abc']);
  });

  test('with dialect h2 the receiver speaks no other', async () => {
    const one = await receiver({ dialect: 'h2' });
    await assert.rejects(ask(one.port, ['http/1.1']));
    assert.equal(await raw(one.port, [HEAD, KEY, '3\nabcT']), '');
    await ship(one.port, 'abc', claim(1, 0, 'abc'), undefined, { dialect: 'h2' });
    assert.deepEqual(one.batches(), ['abc']);
  });
});
