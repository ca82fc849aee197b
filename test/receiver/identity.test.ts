import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import type { Endpoint } from '../../src/protocol/index.js';
import { decideBatch } from '../../src/receiver/identity.js';
import { failOnLeaks } from '../support/leaks.js';
import { type FaultyCall, FullDisk } from './faults.js';
import {
  claim,
  OTHER_STREAM,
  STREAM,
  settled,
  sha256,
  ship as shipOver,
  TestReceiver,
} from './harness.js';

let one: TestReceiver | null = null;
async function receiver(): Promise<TestReceiver> {
  one = await new TestReceiver().start();
  return one;
}
const finish = async () => {
  await settled();
  await one?.stop();
  one = null;
};
afterEach(finish);
after(finish);
failOnLeaks();

async function refused(sending: Promise<unknown>): Promise<Record<string, unknown>> {
  const error = await sending.then(
    () => assert.fail('confirmed'),
    (e: unknown) => e,
  );
  assert.ok(error instanceof FerryError);
  assert.equal(error.code, 'IDENTITY_REFUSED', error.message);
  return { reason: error.context['reason'], last: error.context['last'] };
}

describe('the rules of a stream', () => {
  const base = { stream: STREAM, sequence: 5, previous: 4 };
  for (const [name, last, held, digest, expected] of [
    ['the next one is stored', 4, null, 'a', { is: 'store' }],
    ['one behind skipped ones is stored', 4, null, 'a', { is: 'store' }],
    ['one held with the same digest is a duplicate', 5, 'a', 'a', { is: 'duplicate' }],
    ['an older one held with the same digest too', 9, 'a', 'a', { is: 'duplicate' }],
    [
      'one held with another digest is refused',
      5,
      'b',
      'a',
      { is: 'refused', reason: 'digest-mismatch', last: 5 },
    ],
    [
      'one that was skipped is refused',
      9,
      null,
      'a',
      { is: 'refused', reason: 'not-held', last: 9 },
    ],
    ['one behind a gap is refused', 3, null, 'a', { is: 'refused', reason: 'gap', last: 3 }],
    [
      'one of an unknown stream is refused',
      0,
      null,
      'a',
      { is: 'refused', reason: 'unknown-stream', last: 0 },
    ],
  ] as const) {
    test(name, () => assert.deepEqual(decideBatch(base, last, held, digest), expected));
  }
});

for (const dialect of ['acked', 'h2'] as const) {
  const ship = (
    port: number,
    data: string | Buffer,
    identity?: Parameters<typeof shipOver>[2],
    path?: string,
    changes: Partial<Endpoint> = {},
  ) => shipOver(port, data, identity, path, { dialect, ...changes });

  describe(`over the wire ${dialect}`, () => {
    describe('batches with an identity', () => {
      test('are stored exactly once, however often they come', async () => {
        const { port } = await receiver();
        for (const data of ['one', 'one']) await ship(port, data, claim(1, 0, data));
        for (const data of ['two', 'two']) await ship(port, data, claim(2, 1, data));
        await ship(port, 'one', claim(1, 0, 'one'));
        assert.deepEqual(one?.batches(), ['one', 'two']);
        assert.deepEqual(one?.parts(), []);
      });

      test('may leave out what the operator skipped, and nothing else', async () => {
        const { port } = await receiver();
        await ship(port, 'one', claim(1, 0, 'one'));
        assert.deepEqual(await refused(ship(port, 'three', claim(3, 2, 'three'))), {
          reason: 'gap',
          last: 1,
        });
        await ship(port, 'three', claim(3, 1, 'three'));
        assert.deepEqual(await refused(ship(port, 'two', claim(2, 1, 'two'))), {
          reason: 'not-held',
          last: 3,
        });
        assert.deepEqual(one?.batches(), ['one', 'three']);
      });

      test('of an unknown stream begin with the first', async () => {
        const { port } = await receiver();
        assert.deepEqual(await refused(ship(port, 'x', claim(7, 6, 'x'))), {
          reason: 'unknown-stream',
          last: 0,
        });
        await ship(port, 'x', claim(7, 0, 'x'));
        await ship(port, 'y', claim(1, 0, 'y', OTHER_STREAM));
        assert.deepEqual(one?.batches(), ['x', 'y']);
      });

      test('with other bytes under a known number are refused', async () => {
        const { port } = await receiver();
        await ship(port, 'one', claim(1, 0, 'one'));
        assert.deepEqual(await refused(ship(port, 'eno', claim(1, 0, 'eno'))), {
          reason: 'digest-mismatch',
          last: 1,
        });
      });

      test('whose bytes changed on the way are refused and may come again', async () => {
        const { port } = await receiver();
        const wrong = { ...claim(1, 0, 'one'), sha256: sha256('other') };
        assert.deepEqual(await refused(ship(port, 'one', wrong)), { reason: 'corrupted', last: 0 });
        await ship(port, 'one', claim(1, 0, 'one'));
        assert.deepEqual(one?.batches(), ['one']);
      });

      test('are known again after a restart, old ones too', async () => {
        await receiver();
        for (let n = 1; n <= 3; n += 1) await ship(one?.port ?? 0, `${n}`, claim(n, n - 1, `${n}`));
        await one?.stop();
        await one?.start();
        for (let n = 1; n <= 4; n += 1) await ship(one?.port ?? 0, `${n}`, claim(n, n - 1, `${n}`));
        assert.deepEqual(one?.batches(), ['1', '2', '3', '4']);
      });

      test('a refusal comes while a large batch is still being sent', async () => {
        const { port } = await receiver();
        const data = Buffer.alloc(20_000_000, 'x');
        const identity = { stream: STREAM, sequence: 9, previous: 8, sha256: sha256(data) };
        assert.deepEqual(await refused(ship(port, data, identity)), {
          reason: 'unknown-stream',
          last: 0,
        });
        assert.deepEqual(one?.parts(), []);
      });

      test('a duplicate digest older than memory is found in the index', async () => {
        const { port } = await receiver();
        const many = 1_100;
        for (let n = 1; n <= many; n += 1) {
          await ship(port, `${n}`, claim(n, n - 1, `${n}`), undefined, { confirm: 'acked' });
        }
        await ship(port, '1', claim(1, 0, '1'));
        assert.deepEqual(await refused(ship(port, 'x', claim(1, 0, 'x'))), {
          reason: 'digest-mismatch',
          last: many,
        });
        assert.equal(one?.batches().length, many);
      });
    });

    describe('many at once', () => {
      test('the same batch over ten connections is stored once', async () => {
        const { port } = await receiver();
        await Promise.all(
          Array.from({ length: 10 }, () => ship(port, 'same', claim(1, 0, 'same'))),
        );
        assert.deepEqual(one?.batches(), ['same']);
        assert.deepEqual(one?.parts(), []);
      });

      test('two different batches with one number: one is stored, one refused', async () => {
        const { port } = await receiver();
        const results = await Promise.allSettled([
          ship(port, 'a', claim(1, 0, 'a')),
          ship(port, 'b', claim(1, 0, 'b')),
        ]);
        assert.deepEqual(results.map((result) => result.status).sort(), ['fulfilled', 'rejected']);
        assert.equal(one?.batches().length, 1);
      });

      test('forty streams at once get dense numbers', async () => {
        const { port } = await receiver();
        const names = Array.from({ length: 40 }, (_, i) => sha256(`${i}`).slice(0, 32));
        await Promise.all(
          names.map(async (stream) => {
            for (let n = 1; n <= 5; n += 1) {
              await ship(port, `${stream} ${n}`, claim(n, n - 1, `${stream} ${n}`, stream));
            }
          }),
        );
        const held = one?.batches() ?? [];
        assert.equal(held.length, 200);
        for (const stream of names) {
          const own = held.filter((batch) => batch.startsWith(stream));
          assert.deepEqual(
            own,
            [1, 2, 3, 4, 5].map((n) => `${stream} ${n}`),
          );
        }
      });
    });

    describe('blobs with an identity', () => {
      test('an older version is acked and not stored, also after a restart', async () => {
        await receiver();
        await ship(one?.port ?? 0, 'v2', { stream: STREAM, version: 2 }, 'a/b');
        await ship(one?.port ?? 0, 'v1', { stream: STREAM, version: 1 }, 'a/b');
        assert.equal(one?.blob('a/b'), 'v2');
        await one?.stop();
        await one?.start();
        await ship(one?.port ?? 0, 'v1', { stream: STREAM, version: 1 }, 'a/b');
        assert.equal(one?.blob('a/b'), 'v2');
        await ship(
          one?.port ?? 0,
          'v3',
          { stream: STREAM, version: 3, sha256: sha256('v3') },
          'a/b',
        );
        await ship(one?.port ?? 0, 'new', { stream: OTHER_STREAM, version: 1 }, 'c');
        assert.deepEqual([one?.blob('a/b'), one?.blob('c')], ['v3', 'new']);
      });

      test('a blob whose bytes changed on the way is refused', async () => {
        const { port } = await receiver();
        const identity = { stream: STREAM, version: 1, sha256: sha256('other') };
        assert.equal((await refused(ship(port, 'this', identity, 'x')))['reason'], 'corrupted');
        assert.equal(one?.blob('x'), null);
      });
    });

    describe('a disk that is full', () => {
      /** A batch that is gathered in memory, and one that has a file of its own from the start. */
      const SIZES = { small: 3, large: 100_000 };
      const CASES: readonly (readonly [FaultyCall, keyof typeof SIZES])[] = [
        ['writev', 'small'],
        ['datasync', 'small'],
        ['rename', 'small'],
        ['writev', 'large'],
        ['sync', 'large'],
        ['datasync', 'large'],
        ['syncDirectory', 'large'],
        ['rename', 'large'],
      ];
      for (const [call, size] of CASES) {
        test(`a failing ${call} gives no T, ${size}, and afterwards everything goes on`, async () => {
          const disk = new FullDisk();
          one = await new TestReceiver().start(disk);
          const { port } = one;
          const two = 'two'.padEnd(SIZES[size], '.');
          await ship(port, 'one', claim(1, 0, 'one'));
          await ship(port, 'old', undefined, 'blob');
          disk.failing.add(call);
          await assert.rejects(ship(port, two, claim(2, 1, two)), {
            code: 'HTTP_ANSWER',
          });
          if (call !== 'datasync') {
            await assert.rejects(ship(port, 'new', { stream: STREAM, version: 1 }, 'blob'));
          }
          disk.failing.clear();
          await ship(port, two, claim(2, 1, two));
          await ship(port, 'new', { stream: STREAM, version: 1 }, 'blob');
          await ship(port, 'three', claim(3, 2, 'three'));
          assert.deepEqual(one.batches(), ['one', two, 'three']);
          assert.equal(one.blob('blob'), 'new');
          assert.deepEqual(one.parts(), []);
        });
      }

      test('what was refused by a failed sync is not there after a restart', async () => {
        const disk = new FullDisk();
        one = await new TestReceiver().start(disk);
        await ship(one.port, 'one', claim(1, 0, 'one'));
        disk.failing.add('datasync').add('truncate');
        await assert.rejects(ship(one.port, 'two', claim(2, 1, 'two')));
        await assert.rejects(ship(one.port, 'two', claim(2, 1, 'two')));
        disk.failing.clear();
        await ship(one.port, 'other two', claim(2, 1, 'other two'));
        await one.stop();
        await one.start();
        await ship(one.port, 'three', claim(3, 2, 'three'));
        assert.deepEqual(one.batches(), ['one', 'other two', 'three']);
        assert.deepEqual(one.parts(), []);
      });
    });
  });
}
