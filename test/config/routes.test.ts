import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../src/config/load.js';
import type { FerryConfig, JournalConfig } from '../../src/config/model.js';
import { checkCollisions, journalFor, routeUrl } from '../../src/config/routes.js';
import { MINIMAL_CONFIG } from './samples.js';

function withJournals(journals: string): FerryConfig {
  const text = `${MINIMAL_CONFIG.slice(0, MINIMAL_CONFIG.indexOf('journals:'))}journals:\n${journals}`;
  return parseConfig(text, { file: '/c/ferry.yaml', env: {} });
}

function found(config: FerryConfig, path: string): JournalConfig {
  const journal = journalFor(config, path);
  assert.ok(journal !== null, path);
  return journal;
}

test('a file is a journal by its exact rule first, then by the first pattern', () => {
  const config = withJournals(
    [
      '  - {match: "fifo/b*", to: replica, interval: 1s}',
      '  - {match: "fifo/*", exclude: [beat, "*.tmp"], to: replica, interval: 2s}',
      '  - {name: special, path: fifo/bar, to: replica, interval: 3s}',
      '',
    ].join('\n'),
  );
  assert.equal(found(config, '/c/fifo/bar').name, 'special');
  assert.equal(found(config, '/c/fifo/baz').intervalMs, 1_000);
  assert.equal(found(config, '/c/fifo/foo').intervalMs, 2_000);
  assert.equal(journalFor(config, '/c/fifo/x.tmp'), null);
  assert.equal(journalFor(config, '/c/fifo/.x'), null);
  assert.equal(journalFor(config, '/c/other/foo'), null);
});

test('{journal} becomes the name of the file, whatever stands in it', () => {
  const config = withJournals('  - {match: "fifo/*", blobs: "b/{journal}/", to: replica}\n');
  const journal = found(config, '/c/fifo/a$&b');
  assert.equal(journal.blobsDir, '/c/b/a$&b');
  const destination = config.destinations.get('replica');
  assert.ok(destination?.kind === 'wire');
  assert.equal(routeUrl(destination, journal.name), 'a$&b.r/!replica');
});

test('a file whose name cannot be a journal name is refused with a way out', () => {
  const config = withJournals('  - {match: "fifo/*", to: replica}\n');
  for (const name of ['a~b', 'a:b', 'a\nb']) {
    assert.throws(() => journalFor(config, `/c/fifo/${name}`), { code: 'JOURNAL_NAME' });
  }
});

test('journals that appear later and clash with another are told from those that do not', () => {
  const config = withJournals(
    ['  - {match: "a/*", to: replica}', '  - {match: "b/*", to: replica}', ''].join('\n'),
  );
  const journals = ['/c/a/x', '/c/b/y', '/c/b/x'].map((path) => found(config, path));
  const collisions = checkCollisions(journals, config.destinations);
  assert.deepEqual([...new Set(collisions.map(({ journal }) => journal.path))], ['/c/b/x']);
  assert.match(collisions[0]?.error.message ?? '', /two journals are named "x"/);
});
