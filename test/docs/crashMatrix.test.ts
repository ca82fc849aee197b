import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CRASH_POINTS } from '../../src/common/crashPoints.js';

const GUARANTEES = new URL('../../../docs/guarantees.md', import.meta.url);

test('every crash point has its row in the crash matrix, and every row is a crash point', () => {
  const page = readFileSync(GUARANTEES, 'utf8');
  const rows = page
    .split('\n')
    .flatMap((line) => /^\| `(\w+\.\w+)` \|(.*)\|$/.exec(line)?.slice(1, 3).join('|') ?? [])
    .map((row) => row.split('|').map((cell) => cell.trim()));
  const names = rows.map(([name]) => name ?? '');
  assert.deepEqual(names.sort(), [...CRASH_POINTS].sort());
  for (const [name, ...cells] of rows) {
    assert.ok(
      cells.every((cell) => cell !== ''),
      `${name}: an empty cell`,
    );
    for (const letter of (cells.at(-1) ?? '').split(', ')) {
      assert.ok(page.includes(`**${letter}** `), `${name}: there are no tests ${letter}`);
    }
  }
});
