import assert from 'node:assert/strict';
import { test } from 'node:test';
import { globToRegExp, isGlob } from '../../src/config/glob.js';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../src/config/units.js';

test('durations and sizes are read in every unit and written back in the largest', () => {
  const durations: [string, number, string][] = [
    ['500ms', 500, '500ms'],
    ['20s', 20_000, '20s'],
    ['90s', 90_000, '90s'],
    ['1.5m', 90_000, '90s'],
    ['5m', 300_000, '5m'],
    ['48h', 172_800_000, '2d'],
    ['0ms', 0, '0ms'],
  ];
  for (const [text, milliseconds, written] of durations) {
    assert.equal(parseDuration(text), milliseconds, text);
    assert.equal(formatDuration(milliseconds), written);
  }
  const sizes: [string, number, string][] = [
    ['64KiB', 65_536, '64KiB'],
    ['16MiB', 16_777_216, '16MiB'],
    ['1GB', 1_000_000_000, '1000000000B'],
    ['0B', 0, '0B'],
  ];
  for (const [text, bytes, written] of sizes) {
    assert.equal(parseSize(text), bytes, text);
    assert.equal(formatSize(bytes), written);
  }
});

test('what is no duration or size is refused, not guessed', () => {
  for (const text of ['', '10', '5 s', '-1s', '1w', 's', '99999999999999d']) {
    assert.equal(parseDuration(text), null, text);
  }
  for (const text of ['', '10', '5 MiB', '-1B', '1mib', '9999999999TiB']) {
    assert.equal(parseSize(text), null, text);
  }
});

test('file name patterns match as in a shell', () => {
  const cases: [string, string, boolean][] = [
    ['*', 'foo', true],
    ['*', '.hidden', false],
    ['.*', '.hidden', true],
    ['*.jnl', 'a.jnl', true],
    ['*.jnl', 'ajnl', false],
    ['fo?', 'foo', true],
    ['fo?', 'fo', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[!a-c]x', 'dx', true],
    ['[]]', ']', true],
    ['[', '[', true],
    ['a+(b)', 'a+(b)', true],
    ['a.b', 'axb', false],
    ['*', 'two\nlines', true],
  ];
  for (const [pattern, name, expected] of cases) {
    assert.equal(globToRegExp(pattern).test(name), expected, `${pattern} ~ ${name}`);
  }
  assert.equal(isGlob('foo'), false);
  assert.equal(isGlob('fo*'), true);
});
