import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { maskedWords, parseSslCall } from '../../src/ssl/arguments.js';

function daemon(words: readonly string[]) {
  const call = parseSslCall(words);
  assert.ok(call.kind === 'daemon');
  return call;
}

describe('bin/ssl’s words', () => {
  test('two words pass through, three to five get and send, seven and more are a daemon', () => {
    const kinds = (count: number) => parseSslCall(Array.from({ length: count }, () => 'x')).kind;
    assert.deepEqual([2, 3, 4, 5].map(kinds), Array(4).fill('transfer'));
    assert.deepEqual([7, 8, 9, 12].map(kinds), Array(4).fill('daemon'));
    for (const count of [0, 1, 6]) assert.throws(() => kinds(count), { code: 'SSL_USAGE' });
  });

  test('a plus counts only as the last word', () => {
    assert.equal(parseSslCall(['h', '1', 'u', '+']).debug, true);
    assert.deepEqual(parseSslCall(['h', '1', '+', 'f']), {
      kind: 'transfer',
      host: 'h',
      port: '1',
      verify: true,
      debug: false,
      url: '+',
      files: [{ kind: 'file', path: 'f' }],
    });
    assert.throws(() => parseSslCall(['h', '+']), { code: 'SSL_USAGE' });
  });

  test('a sign before the port is not part of it', () => {
    const { port, verify } = parseSslCall(['h', '-443']);
    assert.deepEqual([port, verify], ['443', false]);
  });

  test('numbers are read as C reads them', () => {
    const numbers = (...words: string[]) => {
      const call = daemon(['h', '1', 'u', 'k', 'j', 'b/', ...words]);
      return [call.seconds, call.idleMinutes, call.printPid];
    };
    assert.deepEqual(numbers('20'), [20, null, false]);
    assert.deepEqual(numbers(' 7x', '60'), [7, 60, false]);
    assert.deepEqual(numbers('x', '0'), [0, null, true]);
    assert.deepEqual(numbers('-3', 'never'), [0, null, true]);
    assert.deepEqual(numbers('1', '-5'), [1, null, false]);
    assert.deepEqual(numbers('1', ''), [1, null, false]);
  });

  test('an empty word turns its half off', () => {
    const call = daemon(['h', '1', 'u', '', '', '', '5', '', 'a/', 'b/']);
    assert.deepEqual([call.key, call.journal, call.blobDir], [null, null, null]);
    assert.deepEqual(call.archives, ['a/', 'b/']);
  });

  test('names that would not fit into bin/ssl’s request are refused', () => {
    assert.equal(parseSslCall(['h', '1', 'u'.repeat(900)]).kind, 'transfer');
    const long = ['h', '1', 'u'.repeat(1024)];
    assert.throws(() => parseSslCall(long), { code: 'SSL_NAMES_TOO_LONG' });
  });

  test('a key or text that is written out is masked, wherever it may stand', () => {
    const masked = (words: string) => maskedWords(words.split(' ')).join(' ');
    assert.equal(masked('h -1 u -secret -text'), 'h -1 u -*** -***');
    assert.equal(masked('h 1 u -secret j -b 1 0'), 'h 1 u -*** j -b 1 0');
    assert.equal(masked('h 1 u -'), 'h 1 u -');
    assert.equal(masked('h 1 u f -text +'), 'h 1 u f -*** +');
  });
});
