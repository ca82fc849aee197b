import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import {
  connectionsSettled,
  type Endpoint,
  type SendRequest,
  send,
} from '../../src/protocol/index.js';
import { makeCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { closer, listen } from '../support/servers.js';
import {
  honest,
  LONG_TIMEOUTS,
  pieces,
  type ScriptedServer,
  type Seen,
  scriptedServer,
  testEndpoint,
} from './scriptedServer.js';

const HEAD = (port: number) =>
  `GET /foo.r/!replica HTTP/1.0\r\nUser-Agent: PicoLisp\r\nHost: localhost:${port}\r\nAccept-Charset: utf-8\r\n\r\nsecret\n`;
const STREAM = 'ab'.repeat(16);

failOnLeaks();

const servers: ScriptedServer[] = [];
async function serve(
  script: (seen: Seen) => Promise<void> | void,
  options?: Parameters<typeof scriptedServer>[1],
): Promise<ScriptedServer> {
  const server = await scriptedServer(script, options);
  servers.push(server);
  return server;
}

afterEach(async () => {
  await connectionsSettled();
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

function request(server: ScriptedServer, changes: Partial<SendRequest> = {}): SendRequest {
  return {
    endpoint: server.endpoint(),
    body: { kind: 'batch' },
    bytes: 5,
    payload: pieces('hello'),
    mayConfirm: () => true,
    signal: new AbortController().signal,
    ...changes,
  };
}

async function failure(sending: Promise<unknown>): Promise<FerryError> {
  const error = await sending.then(
    () => assert.fail('the attempt was confirmed'),
    (e: unknown) => e,
  );
  assert.ok(error instanceof FerryError, String(error));
  assert.doesNotMatch(`${error.message} ${JSON.stringify(error.context)}`, /secret|hello/);
  return error;
}

describe('what is sent', () => {
  test('a batch is the bytes of bin/ssl, all in the first write', async () => {
    const server = await serve(honest);
    const result = await send(request(server));
    assert.equal(result.confirmed, true);
    const [seen] = server.seen;
    assert.equal(seen?.bytes.toString(), `${HEAD(server.port)}5\nhelloT`);
    assert.equal(seen?.firstRead, seen?.bytes.length);
    assert.equal(await seen?.ended, true);
  });

  test('a large batch is complete and begins with head and data together', async () => {
    const server = await serve(honest);
    const piece = Buffer.alloc(700_000, 'x');
    const progress: number[] = [];
    await send(
      request(server, {
        bytes: 2_100_000,
        payload: pieces(piece, piece, piece),
        onProgress: (bytes) => progress.push(bytes),
      }),
    );
    const head = `${HEAD(server.port)}2100000\n`;
    const bytes = server.seen[0]?.bytes ?? Buffer.alloc(0);
    assert.equal(bytes.length, head.length + 2_100_000 + 1);
    assert.equal(bytes.subarray(0, head.length).toString(), head);
    assert.ok((server.seen[0]?.firstRead ?? 0) > head.length);
    assert.deepEqual(progress, [700_000, 1_400_000, 2_100_000, 2_100_000]);
  });

  test('a blob of the 2022 dialect carries path and length', async () => {
    const server = await serve(honest);
    await send(request(server, { body: { kind: 'blob', path: '1/2.jpg' } }));
    assert.equal(server.seen[0]?.bytes.toString(), `${HEAD(server.port)}1/2.jpg\n5\nhelloT`);
  });

  test('a blob of the 2015 dialect ends with the end of file and is not acked', async () => {
    const server = await serve(async (seen) => {
      await seen.ended;
      seen.socket.end();
    });
    const result = await send(
      request(server, {
        endpoint: server.endpoint({ dialect: 'eof' }),
        body: { kind: 'blob', path: '1/2.jpg' },
      }),
    );
    assert.equal(result.answerMs, 0);
    assert.equal(server.seen[0]?.bytes.toString(), `${HEAD(server.port)}1/2.jpg\nhello`);
  });

  test('a batch of the 2015 dialect is confirmed by a server that closes right behind its T', async () => {
    const server = await serve(async (seen) => {
      await seen.until((bytes) => bytes.toString('latin1').endsWith('T'));
      seen.socket.end('T');
    });
    const result = await send(request(server, { endpoint: server.endpoint({ dialect: 'eof' }) }));
    assert.equal(result.confirmed, true);
  });

  test('identity travels in two headers', async () => {
    const server = await serve(honest);
    const sha256 = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';
    await send(request(server, { identity: { stream: STREAM, sequence: 7, previous: 5, sha256 } }));
    const text = server.seen[0]?.bytes.toString() ?? '';
    assert.match(text, new RegExp(`\r\nIdempotency-Key: "${STREAM}\\.7\\.5"\r\n`));
    assert.match(
      text,
      /\r\nContent-Digest: sha-256=:LPJNul\+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:\r\n/,
    );
  });

  test('with confirm acked the T is enough, and the end is still polite', async () => {
    const server = await serve(async (seen) => {
      await seen.until((bytes) => bytes.toString('latin1').endsWith('T'));
      seen.socket.write('T');
      await seen.ended;
      seen.socket.end();
    });
    await send(request(server, { endpoint: server.endpoint({ confirm: 'acked' }) }));
    assert.equal(await (await server.connection(0)).ended, true);
  });

  for (const path of ['', '123', ' 12', '12.5', '+3', 'a\nb', 'a\0b']) {
    test(`the blob path ${JSON.stringify(path)} is refused before anything is sent`, async () => {
      const server = await serve(honest);
      const error = await failure(send(request(server, { body: { kind: 'blob', path } })));
      assert.equal(error.code, 'BLOB_PATH_INVALID');
      assert.equal(server.seen.length, 0);
    });
  }

  test('a key without its newline is refused before anything is sent', async () => {
    const server = await serve(honest);
    const endpoint = server.endpoint({ key: Buffer.from('secret') });
    const error = await failure(send(request(server, { endpoint })));
    assert.equal(error.code, 'KEY_WITHOUT_NEWLINE');
    assert.equal(server.seen.length, 0);
  });
});

interface Row {
  name: string;
  script: (seen: Seen) => Promise<void> | void;
  code: string;
  afterT: boolean;
  context?: Record<string, unknown>;
  changes?: Partial<SendRequest>;
  bytes?: number;
  /** The server broke the connection itself: no polite end can arrive. */
  broken?: true;
}

const ALL = (seen: Seen) => seen.until((bytes) => bytes.toString('latin1').endsWith('T'));
/** Far above every deadline here: for an attempt that no deadline ends. */
const ENDED_MS = 30_000;
const BIG = 8_000_000;
const big = (): AsyncGenerator<Uint8Array> =>
  pieces(...Array(8).fill(Buffer.alloc(1_000_000, 'x')));
const problem = (reason: string, last: number) => {
  const json = JSON.stringify({ reason, last });
  return `HTTP/1.0 409 Conflict\r\nContent-Type: application/problem+json\r\nContent-Length: ${json.length}\r\n\r\n${json}`;
};

const ROWS: readonly Row[] = [
  {
    name: 'end of file before any answer (wrong key)',
    script: async (seen) => {
      await ALL(seen);
      seen.socket.end();
    },
    code: 'CLOSED_WITHOUT_ANSWER',
    afterT: true,
  },
  {
    name: 'end of file in the middle of the data',
    script: async (seen) => {
      await seen.untilLength(100_000);
      seen.socket.end();
    },
    code: 'CLOSED_WITHOUT_ANSWER',
    afterT: false,
    changes: { bytes: BIG },
  },
  {
    name: 'a reset (replica down behind the gate)',
    script: async (seen) => {
      await ALL(seen);
      seen.reset();
    },
    code: 'CONNECTION_RESET',
    afterT: true,
    broken: true,
  },
  {
    name: 'a 404 of the gate',
    script: async (seen) => {
      await ALL(seen);
      seen.socket.end('HTTP/1.0 404 Not Found\r\nServer: PicoLisp\r\n\r\n<HTML></HTML>');
    },
    code: 'HTTP_ANSWER',
    afterT: true,
    context: { status: 404 },
  },
  {
    name: 'a 409 of our receiver after everything',
    script: async (seen) => {
      await ALL(seen);
      seen.socket.write(problem('gap', 4));
    },
    code: 'IDENTITY_REFUSED',
    afterT: true,
    context: { reason: 'gap', last: 4 },
  },
  {
    name: 'a 409 of our receiver while data are still being written',
    script: async (seen) => {
      await seen.untilLength(100_000);
      seen.socket.end(problem('unknown-stream', 0));
    },
    code: 'IDENTITY_REFUSED',
    afterT: false,
    context: { reason: 'unknown-stream', last: 0 },
    changes: { bytes: BIG },
  },
  {
    name: 'a T before everything was sent',
    script: async (seen) => {
      await seen.untilLength(100_000);
      seen.socket.write('T');
    },
    code: 'FALSE_ACK',
    afterT: false,
    changes: { bytes: BIG },
  },
  {
    name: 'T and end of file at once',
    script: async (seen) => {
      await ALL(seen);
      seen.socket.end('T');
    },
    code: 'FALSE_ACK',
    afterT: true,
  },
  {
    name: 'something after the T',
    script: async (seen) => {
      await ALL(seen);
      seen.socket.write('TX');
    },
    code: 'PROTOCOL_ERROR',
    afterT: true,
  },
  {
    name: 'neither T nor HTTP',
    script: async (seen) => {
      await ALL(seen);
      seen.socket.write('?');
    },
    code: 'PROTOCOL_ERROR',
    afterT: true,
  },
  {
    name: 'HTTP without end',
    script: async (seen) => {
      await ALL(seen);
      const line = `HTTP/1.0 200 OK\r\n${'x'.repeat(200_000)}`;
      seen.socket.write(line);
    },
    code: 'HTTP_ANSWER',
    afterT: true,
    context: { status: 200 },
  },
  {
    name: 'silence after the T',
    script: () => undefined,
    code: 'TIMEOUT_IDLE',
    afterT: true,
  },
  {
    name: 'a T, but no end of file',
    script: async (seen) => {
      await ALL(seen);
      seen.socket.write('T');
    },
    code: 'TIMEOUT_APPLY',
    afterT: true,
  },
  {
    name: 'a server that stops reading',
    script: (seen) => {
      seen.socket.pause();
    },
    code: 'TIMEOUT_IDLE',
    afterT: false,
    changes: { bytes: 64_000_000 },
    broken: true,
  },
];

/** Short is only the one that is to run out. */
function timeoutsFor(code: string): Endpoint['timeouts'] {
  if (code === 'TIMEOUT_IDLE') return { ...LONG_TIMEOUTS, idleMs: 1_000 };
  if (code === 'TIMEOUT_APPLY') return { ...LONG_TIMEOUTS, applyMs: 1_000 };
  return LONG_TIMEOUTS;
}

describe('every refusal has its own code, within its deadline', () => {
  for (const row of ROWS) {
    test(row.name, { timeout: ENDED_MS }, async () => {
      const server = await serve(row.script);
      const bytes = row.changes?.bytes ?? 5;
      const payload =
        bytes === 5 ? pieces('hello') : bytes === BIG ? big() : pieces(Buffer.alloc(bytes, 'x'));
      const endpoint = server.endpoint({ timeouts: timeoutsFor(row.code) });
      const error = await failure(send(request(server, { endpoint, bytes, payload })));
      assert.equal(error.code, row.code, error.message);
      assert.equal(error.kind, 'destination');
      assert.ok(error.hint);
      assert.equal(error.context['afterT'], row.afterT);
      for (const [name, value] of Object.entries(row.context ?? {})) {
        assert.equal(error.context[name], value);
      }
      if (row.broken !== true) {
        assert.equal(
          await (await server.connection(0)).ended,
          true,
          'the server saw no close_notify',
        );
      }
    });
  }

  test('a closed port is CONNECTION_REFUSED', async () => {
    const server = await serve(honest);
    await server.stop();
    servers.pop();
    const error = await failure(send(request(server)));
    assert.equal(error.code, 'CONNECTION_REFUSED');
    assert.equal(error.context['afterT'], false);
  });

  test('a name without address is HOST_UNKNOWN', async () => {
    const server = await serve(honest);
    const endpoint = server.endpoint({ host: 'no-such-host.invalid' });
    const error = await failure(send(request(server, { endpoint })));
    assert.equal(error.code, 'HOST_UNKNOWN');
  });
});

describe('our own reasons end a connection politely', () => {
  test('a lost lease: everything but the T', async () => {
    const server = await serve(honest);
    const bytes = 200_000;
    const payload = pieces(Buffer.alloc(bytes, 'x'));
    const error = await failure(send(request(server, { bytes, payload, mayConfirm: () => false })));
    assert.equal(error.code, 'LEASE_LOST');
    assert.equal(error.context['afterT'], false);
    assert.equal(await (await server.connection(0)).ended, true);
    assert.ok(!server.seen[0]?.bytes.includes('T', -1));
  });

  test('a cancelled attempt passes on the reason of its signal', async () => {
    const server = await serve(() => undefined);
    const abort = new AbortController();
    const sending = failure(send(request(server, { signal: abort.signal })));
    await (await server.connection(0)).until((bytes) => bytes.length > 0);
    abort.abort(new FerryError('STOPPING', 'stopping', { kind: 'internal' }));
    const error = await sending;
    assert.equal(error.code, 'STOPPING');
    assert.equal(error.context['afterT'], true);
    assert.equal(await (await server.connection(0)).ended, true);
  });

  for (const [name, bytes] of [
    ['shorter', 6],
    ['longer', 4],
  ] as const) {
    test(`a payload ${name} than announced is never committed`, async () => {
      const server = await serve(() => undefined);
      const error = await failure(send(request(server, { bytes })));
      assert.equal(error.code, 'PAYLOAD_MISMATCH');
      assert.equal(error.context['afterT'], false);
      assert.equal(await (await server.connection(0)).ended, true);
    });
  }

  test('a long payload that turns out wrong is never committed either', async () => {
    const server = await serve(() => undefined);
    const payload = pieces(Buffer.alloc(300_000, 'x'));
    const error = await failure(send(request(server, { bytes: 300_001, payload })));
    assert.equal(error.code, 'PAYLOAD_MISMATCH');
    assert.equal(await (await server.connection(0)).ended, true);
    assert.ok(!server.seen[0]?.bytes.includes('T', -1));
  });

  test('an error of the source passes through, and the source is closed', async () => {
    const server = await serve(() => undefined);
    let closed = false;
    async function* source() {
      try {
        yield Buffer.alloc(100_000);
        throw new FerryError('SPOOL_UNREADABLE', 'no', { kind: 'storage' });
      } finally {
        closed = true;
      }
    }
    const error = await failure(send(request(server, { bytes: 200_000, payload: source() })));
    assert.equal(error.code, 'SPOOL_UNREADABLE');
    assert.equal(closed, true);
    assert.equal(await (await server.connection(0)).ended, true);
  });

  test('a source that hangs is PAYLOAD_STALLED', async () => {
    const server = await serve(() => undefined);
    async function* source(): AsyncGenerator<Uint8Array> {
      await new Promise(() => undefined);
      yield Buffer.alloc(1);
    }
    const error = await failure(send(request(server, { payload: source() })));
    assert.equal(error.code, 'PAYLOAD_STALLED');
  });
});

describe('TLS', () => {
  test('the second connection resumes the session of the first', async () => {
    const server = await serve(honest);
    const first = await send(request(server));
    const second = await send(request(server));
    assert.deepEqual([first.sessionReused, second.sessionReused], [false, true]);
    assert.equal(server.seen[1]?.reused, true);
  });

  test('a failed handshake does not spoil the next connection', async () => {
    const server = await serve(honest);
    await send(request(server));
    const otherwise = server.endpoint({ tls: { ...server.endpoint().tls, servername: 'other' } });
    const error = await failure(send(request(server, { endpoint: otherwise })));
    assert.equal(error.code, 'CERTIFICATE_INVALID');
    assert.match(error.message, /does not name this host/);
    assert.equal((await send(request(server))).confirmed, true);
  });

  test('a session made without verification is not offered where verification is asked', async () => {
    const other = makeCerts({ names: 'DNS:localhost', days: 30 });
    const server = await serve(honest, { cert: other.cert, key: other.key });
    const verify = server.endpoint().tls;
    const endpoint = server.endpoint({ tls: { ...verify, verify: false } });
    await send(request(server, { endpoint }));
    const error = await failure(send(request(server)));
    assert.equal(error.code, 'CERTIFICATE_INVALID');
    assert.match(error.message, /authority/);
  });

  test('an expired certificate is told as such', async () => {
    const over = makeCerts({ names: 'DNS:localhost', days: 0 });
    const server = await serve(honest, { cert: over.cert, key: over.key });
    const endpoint = server.endpoint({ tls: { verify: true, ca: over.ca, servername: null } });
    const error = await failure(send(request(server, { endpoint })));
    assert.equal(error.code, 'CERTIFICATE_INVALID');
    assert.match(error.message, /expired/);
  });

  test('an address is verified against the addresses in the certificate', async () => {
    const server = await serve(honest);
    await send(request(server, { endpoint: server.endpoint({ host: '127.0.0.1' }) }));
  });

  test('a server that does not speak TLS is TLS_FAILED or TIMEOUT_CONNECT', async () => {
    const { createServer } = await import('node:net');
    for (const [answer, code] of [
      ['HTTP/1.0 400 Bad Request\r\n\r\n', 'TLS_FAILED'],
      [null, 'TIMEOUT_CONNECT'],
    ] as const) {
      const plain = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.resume();
        if (answer !== null) socket.end(answer);
      });
      const close = closer(plain);
      const port = await listen(plain);
      const endpoint = testEndpoint(port);
      const timeouts = { ...endpoint.timeouts, connectMs: 300 };
      const error = await failure(
        send({
          ...request({ endpoint: () => endpoint } as never),
          endpoint: { ...endpoint, timeouts },
        }),
      );
      assert.equal(error.code, code);
      await close();
    }
  });
});
