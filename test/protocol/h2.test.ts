import assert from 'node:assert/strict';
import { constants, type ServerHttp2Stream, sensitiveHeaders } from 'node:http2';
import { after, afterEach, describe, test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import {
  type Body,
  type Endpoint,
  H2Client,
  type SendRequest,
  type SendResult,
} from '../../src/protocol/index.js';
import { makeCerts, testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { H2Peer, type H2Script, whole } from './h2Peer.js';
import { pieces, scriptedServer } from './scriptedServer.js';

const peers: H2Peer[] = [];
let client = new H2Client();
async function peer(
  script: H2Script,
  options: ConstructorParameters<typeof H2Peer>[1] = {},
  settings: ConstructorParameters<typeof H2Peer>[2] = {},
): Promise<H2Peer> {
  const one = await new H2Peer(script, options, settings).start();
  peers.push(one);
  return one;
}
const finish = async () => {
  const before = client;
  client = new H2Client();
  await before.close();
  await Promise.all(peers.splice(0).map((one) => one.stop()));
};
afterEach(finish);
after(finish);
failOnLeaks();

const LARGE_BYTES = 4_000_000;
const PIECE = Buffer.alloc(1_000_000, 'x');

function ship(endpoint: Endpoint, changes: Partial<SendRequest> = {}): Promise<SendResult> {
  const data = Buffer.from('some data');
  return client.send({
    endpoint,
    body: { kind: 'batch' },
    bytes: data.length,
    payload: pieces(data),
    mayConfirm: () => true,
    signal: new AbortController().signal,
    ...changes,
  });
}

function large(): Pick<SendRequest, 'bytes' | 'payload'> {
  return { bytes: LARGE_BYTES, payload: pieces(...Array<Buffer>(4).fill(PIECE)) };
}

async function failure(sending: Promise<unknown>): Promise<FerryError> {
  const error = await sending.then(
    () => assert.fail('confirmed'),
    (e: unknown) => e,
  );
  assert.ok(error instanceof FerryError, `${error}`);
  return error;
}

/** Takes everything and answers. */
const honest: H2Script = (stream) => {
  void whole(stream).then(
    () => stream.respond({ ':status': 204 }, { endStream: true }),
    () => undefined,
  );
};

describe('who is at the other end is known before the key goes out', () => {
  for (const [name, alpn] of [
    ['nothing in the handshake, as httpGate and older receivers', undefined],
    ['HTTP/1.1 only', ['http/1.1']],
  ] as const) {
    test(`a server that speaks ${name} has a code of its own`, async () => {
      const server = await scriptedServer(
        () => undefined,
        alpn === undefined ? {} : { ALPNProtocols: [...alpn] },
      );
      const error = await failure(ship(server.endpoint({ dialect: 'h2' })));
      assert.equal(error.code, 'HTTP2_NOT_OFFERED');
      assert.match(error.hint ?? '', /dialect: acked/);
      assert.equal(error.context['afterT'], false);
      for (const { bytes } of server.seen) assert.equal(bytes.length, 0);
      await server.stop();
    });
  }

  for (const [name, certs, changes] of [
    ['of another authority', () => makeCerts({ names: 'DNS:localhost', days: 30 }), {}],
    ['for another name', testCerts, { servername: 'replica.example.com' }],
  ] as const) {
    test(`a certificate ${name} ends it`, async () => {
      const { cert, key } = certs();
      let requests = 0;
      const one = await peer(
        () => {
          requests += 1;
        },
        { cert, key },
      );
      const { tls } = one.endpoint();
      const error = await failure(ship(one.endpoint({ tls: { ...tls, ...changes } })));
      assert.equal(error.code, 'CERTIFICATE_INVALID');
      assert.equal(requests, 0);
    });
  }

  test('each request has the key of its moment, and no hop may put it into a table', async () => {
    const keys: unknown[] = [];
    const sensitive: unknown[] = [];
    const one = await peer((stream, headers, session) => {
      keys.push(headers.authorization);
      sensitive.push((headers as Record<symbol, unknown>)[sensitiveHeaders]);
      honest(stream, headers, session);
    });
    await ship(one.endpoint({ key: Buffer.from('one\n') }));
    await ship(one.endpoint({ key: Buffer.from('two words\n') }));
    assert.deepEqual(keys, ['Bearer one', 'Bearer two words']);
    assert.deepEqual(sensitive, [['authorization'], ['authorization']]);
    assert.equal(one.connections, 1);
  });

  for (const key of ['two\nlines\n', '\n', ' blank\n', 'ü\n']) {
    test(`the key ${JSON.stringify(key)} fits into no header`, async () => {
      const one = await peer(honest);
      const error = await failure(ship(one.endpoint({ key: Buffer.from(key) })));
      assert.equal(error.code, 'KEY_NOT_ONE_LINE');
      assert.equal(one.connections, 0);
    });
  }
});

describe('the request', () => {
  test('says what it is in its path and headers', async () => {
    const seen: unknown[] = [];
    const one = await peer((stream, headers, session) => {
      const { ':method': method, ':path': path } = headers;
      const { 'content-length': length, 'idempotency-key': key } = headers;
      seen.push([method, path, length, key]);
      honest(stream, headers, session);
    });
    const stream = 'a'.repeat(32);
    const sha256 = '0'.repeat(64);
    await ship(one.endpoint(), { identity: { stream, sequence: 7, previous: 5, sha256 } });
    const path = 'a b/ü%2F.jpg';
    const body: Body = { kind: 'blob', path };
    await ship(one.endpoint(), { body, identity: { stream, version: 3 } });
    await ship(one.endpoint({ url: 'a%20b' }), { body, bytes: 0, payload: pieces() });
    assert.deepEqual(seen, [
      ['POST', '/foo.r', '9', `"${stream}.7.5"`],
      ['PUT', '/foo.r/blobs/a%20b/%C3%BC%252F.jpg', '9', `"${stream}.blob.3"`],
      ['PUT', '/a%20b/blobs/a%20b/%C3%BC%252F.jpg', '0', undefined],
    ]);
  });

  test('of any size arrives whole, many at once over one connection', async () => {
    const sizes: number[] = [];
    const one = await peer((stream) => {
      void whole(stream).then((data) => {
        sizes.push(data.length);
        stream.respond({ ':status': 204 }, { endStream: true });
      });
    });
    // Of those that wait to be sent Node would allow 10 MB on a connection, and reset the answers.
    const wanted = [1, 65_535, 65_536, 65_537, ...Array<number>(60).fill(1_000_000)];
    const timeouts = { connectMs: 20_000, idleMs: 20_000, applyMs: 20_000 };
    await Promise.all(
      wanted.map((bytes) => {
        const payload = pieces(Buffer.alloc(Math.ceil(bytes / 2)), Buffer.alloc(bytes >> 1));
        return ship(one.endpoint({ timeouts }), { bytes, payload });
      }),
    );
    assert.deepEqual(
      sizes.sort((a, b) => a - b),
      wanted,
    );
    assert.equal(one.connections, 1);
  });

  test('opens a further connection only where the far side allows no more at once', async () => {
    const waiting: ServerHttp2Stream[] = [];
    const one = await peer((stream) => waiting.push(stream));
    one.onSecure = () => undefined;
    await Promise.all([
      ...Array.from({ length: 3 }, () => ship(one.endpoint())),
      until('three are there', () => waiting.length === 3).then(() => {
        for (const stream of waiting) stream.respond({ ':status': 204 }, { endStream: true });
      }),
    ]);
    assert.equal(one.connections, 1);
    const narrow = await peer((stream) => waiting.push(stream));
    waiting.length = 0;
    narrow.onSecure = () =>
      setImmediate(() => narrow.sessions.at(-1)?.settings({ maxConcurrentStreams: 1 }));
    const first = ship(narrow.endpoint());
    await until('the first is there', () => waiting.length === 1);
    const second = ship(narrow.endpoint());
    await until('both are there', () => waiting.length === 2);
    for (const stream of waiting) stream.respond({ ':status': 204 }, { endStream: true });
    await Promise.all([first, second]);
    assert.equal(narrow.connections, 2);
  });
});

describe('a kept connection', () => {
  test('is closed when nothing was sent for a while; the next request opens another', async () => {
    client = new H2Client({ idleMs: 100, ageMs: 60_000 });
    const one = await peer(honest);
    await ship(one.endpoint());
    await until('it is closed', () => one.sessions[0]?.destroyed === true);
    await ship(one.endpoint());
    assert.equal(one.connections, 2);
  });

  test('that is old takes no new request, and closes with its last one', async () => {
    client = new H2Client({ idleMs: 60_000, ageMs: 200 });
    const waiting: ServerHttp2Stream[] = [];
    const one = await peer((stream, headers, session) => {
      if (headers['content-length'] === '1') waiting.push(stream);
      else honest(stream, headers, session);
    });
    const slow = ship(one.endpoint(), { bytes: 1, payload: pieces('x') });
    await until('another one is needed', async () => {
      await ship(one.endpoint());
      return one.connections === 2;
    });
    assert.equal(one.sessions[0]?.destroyed, false);
    for (const stream of waiting) stream.respond({ ':status': 204 }, { endStream: true });
    await slow;
    await until('the old one is closed', () => one.sessions[0]?.destroyed === true);
  });

  test('belongs to one trust: another CA, name or host means another connection', async () => {
    const one = await peer(honest);
    const { tls } = one.endpoint();
    await ship(one.endpoint());
    await ship(one.endpoint({ tls: { ...tls, servername: '127.0.0.1' } }));
    await ship(one.endpoint({ host: '127.0.0.1' }));
    await ship(
      one.endpoint({ tls: { ...tls, ca: Buffer.concat([testCerts().ca, testCerts().ca]) } }),
    );
    assert.equal(one.connections, 4);
    await ship(one.endpoint());
    assert.equal(one.connections, 4);
  });
});

describe('the right to send', () => {
  for (const [name, payload] of [
    ['small', {}],
    ['large', large()],
  ] as const) {
    test(`is looked at before the last byte of a ${name} batch; without it nothing can be stored`, async () => {
      let received = 0;
      let over = false;
      const one = await peer((stream) => {
        stream.on('data', (chunk: Buffer) => {
          received += chunk.length;
        });
        stream.once('close', () => {
          over = true;
        });
      });
      const error = await failure(ship(one.endpoint(), { ...payload, mayConfirm: () => false }));
      assert.equal(error.code, 'LEASE_LOST');
      assert.equal(error.context['afterT'], false);
      if (name === 'large') {
        await until('it was reset', () => over);
        assert.equal(received, LARGE_BYTES - 1);
      } else assert.equal(received, 0);
      assert.equal(one.sessions[0]?.destroyed, false);
    });
  }

  test('that ends while a large batch is on its way cancels this request alone', async () => {
    const codes: number[] = [];
    const one = await peer((stream, headers, session) => {
      if (headers['content-length'] === '9') return honest(stream, headers, session);
      stream.once('data', () => stream.pause());
      stream.once('close', () => codes.push(stream.rstCode));
    });
    const lost = new AbortController();
    const sending = ship(one.endpoint(), { ...large(), signal: lost.signal });
    await until('it is under way', () => one.sessions.length === 1);
    await ship(one.endpoint());
    const reason = new FerryError('LEASE_LOST', 'gone', { kind: 'redis' });
    lost.abort(reason);
    assert.equal((await failure(sending)).code, 'LEASE_LOST');
    await ship(one.endpoint());
    assert.equal(one.connections, 1);
    await until('it was reset', () => codes.length === 1);
    assert.deepEqual(codes, [constants.NGHTTP2_CANCEL]);
  });
});

describe('answers', () => {
  const answer =
    (status: number, body: object | null = null): H2Script =>
    (stream) => {
      stream.resume();
      stream.respond({ ':status': status, 'content-type': 'application/problem+json' });
      stream.end(body === null ? '' : JSON.stringify(body));
    };
  for (const [status, body, code, more] of [
    [200, null, 'HTTP_ANSWER', /200/],
    [401, { reason: 'no-key' }, 'KEY_REJECTED', /key/],
    [403, { reason: 'wrong-key' }, 'KEY_REJECTED', /key/],
    [403, { reason: 'blob-path' }, 'HTTP_ANSWER', /403: blob-path/],
    [404, { reason: 'unknown-app' }, 'HTTP_ANSWER', /404: unknown-app/],
    [409, { reason: 'gap', last: 4 }, 'IDENTITY_REFUSED', /gap/],
    [422, { reason: 'corrupted', last: 4 }, 'IDENTITY_REFUSED', /corrupted/],
    [409, null, 'HTTP_ANSWER', /409/],
    [507, { reason: 'storage' }, 'HTTP_ANSWER', /507: storage/],
  ] as const) {
    test(`${status} ${JSON.stringify(body)} is ${code}, for small and large`, async () => {
      const one = await peer(answer(status, body));
      for (const payload of [{}, large()]) {
        const error = await failure(ship(one.endpoint(), payload));
        assert.equal(error.code, code);
        assert.match(error.message, more);
        assert.ok(error.hint);
        assert.equal(error.kind, 'destination');
        assert.equal(error.context['echoed'], true);
      }
    });
  }

  test('an answer that comes early ends the sending of a large batch', async () => {
    const one = await peer((stream) => {
      stream.respond({ ':status': 409 });
      stream.end(JSON.stringify({ reason: 'gap', last: 1 }));
      stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR));
    });
    const error = await failure(ship(one.endpoint(), large()));
    assert.equal(error.code, 'IDENTITY_REFUSED');
    assert.equal(error.context['afterT'], false);
    assert.ok(Number(error.context['sentBytes']) < LARGE_BYTES);
  });

  test('a confirmation that comes before everything was sent is none', async () => {
    const one = await peer((stream) => stream.respond({ ':status': 204 }, { endStream: true }));
    const error = await failure(ship(one.endpoint(), large()));
    assert.equal(error.code, 'FALSE_ACK');
    assert.equal(error.context['afterT'], false);
  });

  test('a request at which nobody looked is sent again at once, over another connection', async () => {
    let seen = 0;
    const one = await peer((stream, headers, session) => {
      seen += 1;
      if (seen > 1) return honest(stream, headers, session);
      // The receiver stops: what came after the one named here was not looked at.
      session.goaway(constants.NGHTTP2_NO_ERROR, 0);
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
    });
    await ship(one.endpoint());
    assert.equal(seen, 2);
    assert.equal(one.connections, 2);
  });

  test('one that is turned away again is an error, and certainly not stored', async () => {
    const one = await peer((stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM));
    const error = await failure(ship(one.endpoint()));
    assert.equal(error.code, 'STREAM_REFUSED');
    assert.equal(error.context['afterT'], false);
    assert.match(error.hint ?? '', /limits\.connections/);
  });

  test('a far side that allows no stream at all, or goes away at once, is not asked for ever', async () => {
    for (const what of ['settings', 'goaway'] as const) {
      const one = await peer(honest, {}, what === 'settings' ? { maxConcurrentStreams: 0 } : {});
      if (what === 'goaway') one.onSession = (session) => session.close();
      const error = await failure(ship(one.endpoint()));
      assert.ok(['STREAM_REFUSED', 'CONNECTION_RESET'].includes(error.code), error.code);
      assert.equal(error.context['afterT'], false);
      assert.ok(one.connections <= 12);
    }
  });

  test('a payload that is shorter or longer than announced is never ended', async () => {
    const ends: unknown[] = [];
    const one = await peer((stream) => {
      stream.resume();
      stream.once('close', () => ends.push(stream.rstCode));
    });
    for (const bytes of [LARGE_BYTES + 1, LARGE_BYTES - 1]) {
      const error = await failure(ship(one.endpoint(), { ...large(), bytes }));
      assert.equal(error.code, 'PAYLOAD_MISMATCH');
      assert.equal(error.context['afterT'], false);
    }
    for (const bytes of [8, 10]) {
      const error = await failure(ship(one.endpoint(), { bytes }));
      assert.equal(error.code, 'PAYLOAD_MISMATCH');
    }
    await until('both were reset', () => ends.length === 2);
  });
});

describe('an accident of the peer', () => {
  const SHORT_MS = 600;
  const LONG_MS = 10_000;
  type Step = 'connected' | 'handshake' | 'headers' | 'some of the data' | 'end';
  const STEPS: readonly Step[] = ['connected', 'handshake', 'headers', 'some of the data', 'end'];

  for (const size of ['small', 'large'] as const) {
    for (const step of STEPS) {
      for (const fault of ['reset', 'stall'] as const) {
        test(`${size}: ${fault} after: ${step}; the next attempt goes through`, async () => {
          let struck = false;
          const strike = (at: Step) => {
            if (struck || at !== step) return false;
            struck = true;
            one.strike(fault);
            return true;
          };
          const one = await peer((stream) => {
            if (strike('headers')) return;
            let bytes = 0;
            stream.on('data', (chunk: Buffer) => {
              bytes += chunk.length;
              if (bytes > 0) strike('some of the data');
            });
            stream.on('end', () => {
              if (stream.closed || strike('end')) return;
              stream.respond({ ':status': 204 }, { endStream: true });
            });
          });
          one.onConnect = () => strike('connected');
          one.onSecure = () => strike('handshake');
          const opening = step === 'connected' || step === 'handshake';
          const timeouts = {
            connectMs: opening ? SHORT_MS : LONG_MS,
            idleMs: SHORT_MS,
            applyMs: LONG_MS,
          };
          const payload = size === 'small' ? {} : large();
          const error = await failure(
            ship(
              one.endpoint({
                timeouts: fault === 'stall' ? timeouts : { ...timeouts, connectMs: LONG_MS },
              }),
              payload,
            ),
          );
          const expected =
            fault === 'stall'
              ? [opening ? 'TIMEOUT_CONNECT' : 'TIMEOUT_IDLE']
              : opening
                ? ['TLS_FAILED', 'CONNECTION_RESET']
                : ['CONNECTION_RESET'];
          assert.ok(expected.includes(error.code), `${error.code}: ${error.message}`);
          const afterT = !opening && (size === 'small' || step === 'end');
          assert.equal(error.context['afterT'], afterT);
          assert.ok(error.hint);
          await ship(
            one.endpoint({ timeouts: { ...timeouts, connectMs: LONG_MS } }),
            size === 'small' ? {} : large(),
          );
          assert.equal(one.connections, 2);
        });
      }
    }
  }

  test('a receiver that answers late is waited for, and pinged', async () => {
    let pings = 0;
    const one = await peer((stream, _, session) => {
      stream.resume();
      session.on('ping', () => {
        pings += 1;
        if (pings === 8) stream.respond({ ':status': 204 }, { endStream: true });
      });
    });
    await ship(one.endpoint({ timeouts: { connectMs: LONG_MS, idleMs: 300, applyMs: LONG_MS } }));
    assert.equal(pings, 8);
  });

  test('a receiver that lives and never answers has timeouts.apply; the connection stays', async () => {
    const one = await peer((stream, headers, session) => {
      if (headers['content-length'] === '9') stream.resume();
      else honest(stream, headers, session);
    });
    const timeouts = { connectMs: LONG_MS, idleMs: 300, applyMs: 700 };
    const error = await failure(ship(one.endpoint({ timeouts })));
    assert.equal(error.code, 'TIMEOUT_APPLY');
    assert.equal(error.context['afterT'], true);
    await ship(one.endpoint({ timeouts }), { bytes: 1, payload: pieces('x') });
    assert.equal(one.connections, 1);
  });

  test('a receiver that lives and takes nothing has timeouts.idle; other requests go on', async () => {
    const one = await peer((stream, headers, session) => {
      if (headers['content-length'] === '9') honest(stream, headers, session);
    });
    const timeouts = { connectMs: LONG_MS, idleMs: 500, applyMs: LONG_MS };
    const stuck = failure(ship(one.endpoint({ timeouts }), large()));
    await ship(one.endpoint({ timeouts }));
    assert.equal((await stuck).code, 'TIMEOUT_IDLE');
    await ship(one.endpoint({ timeouts }));
    assert.equal(one.connections, 1);
  });

  test('a source that gives nothing is no fault of the receiver', async () => {
    const one = await peer((stream) => stream.resume());
    const timeouts = { connectMs: LONG_MS, idleMs: 300, applyMs: LONG_MS };
    const nothing: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
    };
    for (const bytes of [9, LARGE_BYTES]) {
      const error = await failure(ship(one.endpoint({ timeouts }), { bytes, payload: nothing }));
      assert.equal(error.code, 'PAYLOAD_STALLED');
      assert.equal(error.context['afterT'], false);
    }
  });
});
