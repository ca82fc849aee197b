import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { exitCodeOf, formatError } from '../../src/cli/edge.js';
import { renderStatus } from '../../src/cli/statusTable.js';
import { FerryError } from '../../src/common/errors.js';
import { createLogger, type LogFormat } from '../../src/common/logger.js';
import type { RouteStatus } from '../../src/status/report.js';

function logged(format: LogFormat, log: (logger: ReturnType<typeof createLogger>) => void): string {
  let text = '';
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  log(createLogger({ level: 'trace', format, color: false, destination }));
  return text;
}

for (const format of ['json', 'pretty'] as const) {
  test(`secrets do not reach the log, at any depth (${format})`, () => {
    const text = logged(format, (logger) => {
      logger.info({ password: 'geheim1', redis: { password: 'geheim2' } }, 'hello');
      logger.info({ a: { b: { key: 'geheim3' } } });
      logger.error({ err: new Error('connect redis://joe:geheim4@host:6379 failed') });
      const cause = new Error('rediss://joe:geheim5@host');
      logger.error({ err: new FerryError('REDIS_AWAY', 'away', { kind: 'redis', cause }) });
    });
    assert.doesNotMatch(text, /geheim/);
    assert.match(text, /hello/);
    assert.match(text, /\*\*\*/);
  });
}

test('an error of ours is logged with code, hint and context, and without a stack', () => {
  const text = logged('json', (logger) => {
    const err = new FerryError('KEY_REJECTED', 'the key was refused', {
      kind: 'destination',
      hint: 'compare the key files',
      context: { route: 'foo@replica' },
    });
    logger.warn({ err }, 'will retry');
  });
  const { level, err, msg } = JSON.parse(text);
  assert.equal(level, 'warn');
  assert.equal(msg, 'will retry');
  assert.deepEqual(err, {
    type: 'FerryError',
    code: 'KEY_REJECTED',
    kind: 'destination',
    message: 'the key was refused',
    hint: 'compare the key files',
    context: { route: 'foo@replica' },
  });
});

test('the last word on an error is its message and its hint; a stack is for bugs', () => {
  const usage = new FerryError('X', 'wrong', { kind: 'usage', hint: 'do this' });
  assert.equal(formatError(usage, false), 'ferry: wrong\nhint: do this\n');
  assert.equal(exitCodeOf(usage), 2);
  const redis = new FerryError('X', 'redis://u:geheim@h is away', { kind: 'redis' });
  assert.equal(formatError(redis, false), 'ferry: redis://u:***@h is away\n');
  assert.equal(exitCodeOf(redis), 1);
  assert.match(formatError(new TypeError('oops'), false), /oops\n\s+at /);
  assert.equal(exitCodeOf(new TypeError('oops')), 1);
});

const ROUTE: RouteStatus = {
  route: 'foo@replica',
  journal: 'foo',
  destination: 'replica',
  state: 'idle',
  head: 42,
  tail: 41,
  pendingBatches: 0,
  pendingBytes: 0,
  oldestAgeMs: 0,
  journalBytes: 0,
  pendingBlobs: 0,
  attempts: 0,
  lastError: null,
  lastErrorCode: null,
  lastErrorAt: null,
  deliveredBatches: 41,
  deliveredBytes: 123_456,
  skippedBatches: 0,
  skippedBytes: 0,
  duplicatesPossible: 0,
  replay: null,
  archivedFrom: null,
  archivedBytes: 0,
};

test('the status is a plain table where there is no terminal', () => {
  const text = renderStatus(
    {
      version: 1,
      redis: { ok: true, durability: 'always', error: null },
      routes: [
        ROUTE,
        {
          ...ROUTE,
          route: 'a-longer-name@backup',
          state: 'retrying',
          pendingBatches: 3,
          pendingBytes: 5 * 2 ** 20,
          pendingBlobs: 2,
          oldestAgeMs: 7_500_000,
          attempts: 12,
          lastError: 'CONNECT_REFUSED: nobody listens: start the receiver',
        },
      ],
    },
    { color: false },
  );
  assert.equal(
    text,
    `Redis: ok, durability always

ROUTE                 STATE     NEXT               WAITING  OLDEST  TRIES     DELIVERED
foo@replica           idle        42                     -       -      0  41 (121 KiB)
a-longer-name@backup  retrying    42  3 (5.0 MiB) +2 blobs   2h 5m     12  41 (121 KiB)
    CONNECT_REFUSED: nobody listens: start the receiver
`,
  );
});

test('colours change no column', () => {
  const report = {
    version: 1 as const,
    redis: { ok: false, durability: null, error: 'ECONNREFUSED' },
    routes: [ROUTE, { ...ROUTE, state: 'blocked' as const }],
  };
  const plain = renderStatus(report, { color: false });
  const colored = renderStatus(report, { color: true });
  assert.notEqual(colored, plain);
  assert.equal(
    colored.replaceAll(new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g'), ''),
    plain,
  );
  assert.match(plain, /not reachable, ECONNREFUSED/);
});
