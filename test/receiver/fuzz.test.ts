import assert from 'node:assert/strict';
import { lstatSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { KeySet } from '../../src/receiver/keys.js';
import { blobPathTrouble } from '../../src/receiver/names.js';
import { HEAD_MAX_BYTES, type RequestEvent, RequestParser } from '../../src/receiver/request.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { corpus } from './corpus.js';
import { HEAD, KEY, receiverConfig, TestReceiver } from './harness.js';

/** `FERRY_FUZZ_ROUNDS=100 npm test -- fuzz` tries so many times as much. */
const ROUNDS = Number(process.env['FERRY_FUZZ_ROUNDS'] ?? 1);
const PARSER_RUNS = 3_000 * ROUNDS;
const WIRE_RUNS = 300 * ROUNDS;
const AT_ONCE = 20;
const MAX_BYTES = 1_000_000;

const SPECIMENS = corpus();
const KEYS = new KeySet([Buffer.from(KEY)]);

// Plain TCP: what a client may say is the same, and ten times as much of it can be said.
const receiver = await new TestReceiver(
  receiverConfig({
    tls: null,
    limits: { maxBatchBytes: MAX_BYTES, maxBlobBytes: MAX_BYTES, idleMs: 1_000, connections: 64 },
  }),
).start();
after(() => receiver.stop());
failOnLeaks();

type Change =
  | { do: 'flip'; at: number; by: number }
  | { do: 'drop'; at: number; bytes: number }
  | { do: 'again'; at: number; bytes: number }
  | { do: 'put'; at: number; what: Buffer }
  | { do: 'cut'; at: number }
  | { do: 'splice'; at: number; other: number; from: number };

/** What parsers trip over. */
const TOKENS = [
  '\n',
  '\r\n',
  '\r\n\r\n',
  '\0',
  'T',
  '0',
  '-1',
  '..',
  '/',
  ':',
  '"',
  '\xff',
  KEY,
  HEAD,
]
  .concat(['9'.repeat(15), 'A'.repeat(5_000), 'Idempotency-Key: ', 'HTTP/1.0', 'blob.', '%00'])
  .map((text) => Buffer.from(text, 'latin1'));

const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({
    do: fc.constant('flip' as const),
    at: fc.nat(),
    by: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({ do: fc.constant('drop' as const), at: fc.nat(), bytes: fc.nat(20) }),
  fc.record({ do: fc.constant('again' as const), at: fc.nat(), bytes: fc.nat(40) }),
  fc.record({ do: fc.constant('put' as const), at: fc.nat(), what: fc.constantFrom(...TOKENS) }),
  fc.record({ do: fc.constant('cut' as const), at: fc.nat() }),
  fc.record({
    do: fc.constant('splice' as const),
    at: fc.nat(),
    other: fc.nat(SPECIMENS.length - 1),
    from: fc.nat(),
  }),
);

/** A request of the corpus, changed some times. */
const request = fc
  .tuple(fc.constantFrom(...SPECIMENS), fc.array(change, { maxLength: 4 }))
  .map(([{ bytes }, changes]) => changes.reduce(changed, bytes));

function changed(bytes: Buffer, one: Change): Buffer {
  const at = one.at % (bytes.length + 1);
  const [before, behind] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (one.do) {
    case 'flip':
      return Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ one.by : byte)));
    case 'drop':
      return Buffer.concat([before, behind.subarray(one.bytes)]);
    case 'again':
      return Buffer.concat([before, behind.subarray(0, one.bytes), behind]);
    case 'put':
      return Buffer.concat([before, one.what, behind]);
    case 'cut':
      return before;
    case 'splice': {
      const other = SPECIMENS[one.other]?.bytes ?? Buffer.alloc(0);
      return Buffer.concat([before, other.subarray(one.from % (other.length + 1))]);
    }
  }
}

function parse(dialect: 'acked' | 'eof', chunks: readonly Buffer[]): RequestEvent[] {
  const parser = new RequestParser({
    dialect,
    keysOf: (app) => (app === 'foo.r' ? KEYS : null),
  });
  const events: RequestEvent[] = [];
  for (const chunk of chunks) events.push(...parser.push(chunk));
  events.push(...parser.end());
  return events;
}

/** What must hold of the events of any bytes whatsoever. */
function checkEvents(bytes: Buffer, events: readonly RequestEvent[]): void {
  const kinds = events.map(({ is }) => is);
  const body = events.find((event) => event.is === 'body');
  const data = events.reduce(
    (sum, event) => sum + (event.is === 'data' ? event.data.length : 0),
    0,
  );
  assert.ok(kinds.filter((is) => is === 'body').length <= 1, 'two bodies');
  assert.ok(kinds.filter((is) => is === 'commit').length <= 1, 'two commits');
  if (body === undefined) {
    assert.deepEqual(
      kinds.filter((is) => is === 'data' || is === 'commit'),
      [],
      'no body',
    );
    return;
  }
  assert.ok(bytes.includes(KEY), 'a body without the key');
  if (body.body.kind === 'blob') assert.equal(blobPathTrouble(body.body.path), null);
  if (body.body.bytes !== null) {
    assert.ok(data <= body.body.bytes, 'more data than announced');
    if (kinds.includes('commit')) assert.equal(data, body.body.bytes);
  }
}

/** The whole answer to some bytes and the end of the connection behind them. */
function ask(bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port: receiver.port, host: '127.0.0.1', allowHalfOpen: true });
    let answer = '';
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end());
    socket.once('close', () => resolve(answer));
    socket.end(bytes);
  });
}

function kindOf(answer: string): string {
  if (answer === '') return 'silent';
  if (answer === 'T') return 'T';
  const [, status = '?', length = '', json = ''] =
    /^HTTP\/1\.0 (\d{3}) [A-Za-z ]+\r\nContent-Type: application\/problem\+json\r\nContent-Length: (\d+)\r\n\r\n(.*)$/s.exec(
      answer,
    ) ?? [];
  assert.equal(json.length, Number(length), answer);
  assert.equal((JSON.parse(json) as { status: number }).status, Number(status));
  return status;
}

describe('the corpus of requests', () => {
  for (const { name, bytes, expected } of SPECIMENS) {
    test(`${name}: ${expected}`, async () => {
      checkEvents(bytes, parse('acked', [bytes]));
      // Twice, and the first time it may be news.
      await ask(bytes);
      assert.equal(kindOf(await ask(bytes)), expected);
    });
  }
});

describe('whatever a client sends', () => {
  test('the parser gives no body without a key, no data beyond what was announced, and no error', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('acked' as const, 'eof' as const),
        request,
        fc.nat(),
        (dialect, bytes, place) => {
          const at = place % (bytes.length + 1);
          checkEvents(bytes, parse(dialect, [bytes]));
          checkEvents(bytes, parse(dialect, [bytes.subarray(0, at), bytes.subarray(at)]));
        },
      ),
      { numRuns: PARSER_RUNS },
    );
  });

  test('the parser holds no more than a head of it', () => {
    fc.assert(
      fc.property(request, fc.integer({ min: 1, max: 300 }), (bytes, size) => {
        const parser = new RequestParser({ dialect: 'acked', keysOf: () => KEYS });
        let heldMax = 0;
        for (let at = 0; at < bytes.length && parser.inHead; at += size) {
          for (const _ of parser.push(bytes.subarray(at, at + size))) void _;
          heldMax = at + size;
        }
        // Whatever is longer has been refused, or has become a body.
        assert.ok(heldMax <= HEAD_MAX_BYTES + KEY.length + 2 * 4_096 + size);
      }),
      { numRuns: PARSER_RUNS / 10 },
    );
  });

  test('the receiver answers as it should or not at all, keeps to its folder, and lives', async () => {
    const inputs = fc.sample(request, { numRuns: WIRE_RUNS });
    let stored = 0;
    for (let at = 0; at < inputs.length; at += AT_ONCE) {
      const answers = await Promise.all(inputs.slice(at, at + AT_ONCE).map(ask));
      for (const answer of answers) {
        const kind = kindOf(answer);
        if (kind === 'T') stored += 1;
        else assert.match(kind, /^(silent|400|403|404|409|413)$/);
      }
    }
    await until('all connections are over', () => receiver.connections === 0);
    assert.deepEqual(receiver.parts(), []);
    assert.ok(receiver.batches().length > 0 && stored > 0, 'nothing at all was well formed');
    const beside = readdirSync(dirname(receiver.config.dataDir)).sort();
    assert.deepEqual(beside, ['key', 'received']);
    const own = ['foo.r', 'receiver.intake', 'receiver.lock'];
    assert.deepEqual(readdirSync(receiver.config.dataDir).sort(), own);
    checkModes(receiver.config.dataDir);
    assert.equal(kindOf(await ask(Buffer.from(`${HEAD}${KEY}3\nabcT`))), 'T');
  });
});

function checkModes(folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const stat = lstatSync(path);
    assert.ok(stat.isDirectory() || stat.isFile(), path);
    assert.equal(stat.mode & 0o777, stat.isDirectory() ? 0o700 : 0o600, path);
    if (stat.isDirectory()) checkModes(path);
  }
}
