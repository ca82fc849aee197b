import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { KeySet } from '../../src/receiver/keys.js';
import { HEAD_MAX_BYTES, type RequestEvent, RequestParser } from '../../src/receiver/request.js';
import { STREAM } from './harness.js';

const KEYS = new KeySet([Buffer.from('key one\n'), Buffer.from('second\nkey\n')]);

function parser(dialect: 'acked' | 'eof'): RequestParser {
  return new RequestParser({ dialect, keysOf: (app) => (app === 'foo.r' ? KEYS : null) });
}

/** What came out, with the data joined: how they were cut is no part of the meaning. */
function parse(dialect: 'acked' | 'eof', chunks: readonly Buffer[]): unknown[] {
  const one = parser(dialect);
  const events: RequestEvent[] = [];
  for (const chunk of chunks) events.push(...one.push(chunk));
  events.push(...one.end());
  const joined: unknown[] = [];
  let data = '';
  let excess = false;
  for (const event of events) {
    if (event.is === 'data') data += event.data.toString('latin1');
    else if (event.is === 'excess') excess = true;
    else joined.push(event);
  }
  return [...joined, data, excess];
}

function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (whole.length + 1)))].sort((a, b) => a - b);
  const chunks: Buffer[] = [];
  let from = 0;
  for (const to of [...at, whole.length]) {
    chunks.push(whole.subarray(from, to));
    from = to;
  }
  return chunks;
}

const key = fc.constantFrom('key one\n', 'second\nkey\n', 'wrong\n', 'second\nwrong\n', 'key one');
const headers = fc.constantFrom(
  '',
  `Idempotency-Key: "${STREAM}.7.6"\r\n`,
  `idempotency-key:   "${STREAM}.blob.3"  \r\nHost: x\r\n`,
  'Idempotency-Key: nonsense\r\n',
  'Content-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:\r\n',
);
const command = fc.constantFrom(
  '5\n',
  '0\n',
  'a/b.jpg\n5\n',
  'a/b.jpg\n',
  '../x\n5\n',
  'é\n0\n',
  '12.5\n',
);
const rest = fc.constantFrom('helloT', 'hello', 'helloX', 'helloTT', 'T', '', 'helloworldT');
const app = fc.constantFrom('foo.r/!replica', 'bar', '', 'foo.r');

describe('the request parser', () => {
  test('gives the same for any cutting of the same bytes', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('acked' as const, 'eof' as const),
        fc.tuple(app, headers, key, command, rest),
        fc.array(fc.nat(400), { maxLength: 30 }),
        (dialect, [url, more, keyText, line, tail], places) => {
          const head = `GET /${url} HTTP/1.0\r\nUser-Agent: PicoLisp\r\n${more}\r\n`;
          const whole = Buffer.from(head + keyText + line + tail);
          const expected = parse(dialect, [whole]);
          assert.deepEqual(parse(dialect, cut(whole, places)), expected);
          const single = [...whole].map((byte) => Buffer.from([byte]));
          assert.deepEqual(parse(dialect, single), expected);
        },
      ),
      { numRuns: 400 },
    );
  });

  test('survives any bytes, and holds little of them', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (chunks) => {
        const one = parser('acked');
        for (const chunk of chunks) for (const _ of one.push(Buffer.from(chunk))) void _;
      }),
    );
    const one = parser('acked');
    let refusedAfter = 0;
    for (let n = 0; n < 100 && !one.over; n += 1) {
      refusedAfter += 1_000;
      for (const _ of one.push(Buffer.alloc(1_000, 'x'))) void _;
    }
    assert.ok(one.over);
    assert.ok(refusedAfter <= HEAD_MAX_BYTES + 1_000);
  });

  test('knows a batch with identity', () => {
    const text = `GET /foo.r/!replica HTTP/1.0\r\nIdempotency-Key: "${STREAM}.7.5"\r\n\r\nkey one\n5\nhelloT`;
    const [body, commit, data, excess] = parse('acked', [Buffer.from(text)]);
    assert.deepEqual(body, {
      is: 'body',
      head: {
        app: 'foo.r',
        identity: { kind: 'batch', stream: STREAM, sequence: 7, previous: 5 },
        sha256: null,
        uploadBytes: null,
      },
      body: { kind: 'batch', bytes: 5 },
    });
    assert.deepEqual([commit, data, excess], [{ is: 'commit' }, 'hello', false]);
  });
});
