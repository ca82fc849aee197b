import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseConfig } from '../../src/config/load.js';
import type { FerryConfig, WireDestination } from '../../src/config/model.js';
import { runFerry } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const cwd = tempDir();

async function explained(words: string, env: Record<string, string> = {}): Promise<string> {
  const args = ['ssl', '--explain', ...words.split(' ').map((word) => (word === '_' ? '' : word))];
  const { code, stdout, stderr } = await runFerry(args, { cwd, env });
  assert.equal(code, 0, stderr);
  return stdout;
}

const load = (text: string): FerryConfig =>
  parseConfig(text, { file: `${cwd}/ferry.yaml`, env: {} });

function server(config: FerryConfig, name: string): WireDestination {
  const destination = config.destinations.get(name);
  assert.ok(destination?.kind === 'wire');
  return destination;
}

describe('ferry ssl --explain', () => {
  test('prints a configuration that is valid and says what the words said', async () => {
    const daemon = 'db.example.com -443 8080/!replica key fifo/foo blob/foo/ 20 60';
    const text = await explained(`${daemon} copies/ /var/copies/`);
    assert.match(text, /ferry run --idle-exit 60m/);
    const config = load(text);
    const to = server(config, 'db.example.com');
    assert.deepEqual(
      [to.host, to.port, to.url, to.tls.verify, to.identity, to.dialect],
      ['db.example.com', 443, '8080/!replica', false, false, 'acked'],
    );
    assert.deepEqual(to.key, { file: `${cwd}/key` });
    const copies = config.destinations.get('archive');
    assert.ok(copies?.kind === 'directories');
    assert.deepEqual(copies.directories, [`${cwd}/copies`, '/var/copies']);
    const [journal] = config.journals;
    assert.ok(journal?.kind === 'path');
    assert.deepEqual(
      [journal.name, journal.path, journal.blobs, journal.intervalMs],
      ['foo', `${cwd}/fifo/foo`, `${cwd}/blob/foo/`, 20_000],
    );
    const names = journal.to.map(({ destination }) => destination);
    assert.deepEqual(names, ['db.example.com', 'archive']);
  });

  test('a key that is written out is asked for, and does not appear', async () => {
    const text = await explained('h 443 u -geheim j _ 5');
    assert.match(text, /KEY_FILE/);
    assert.doesNotMatch(text, /geheim/);
  });

  test('what looks like a variable stays what it is', async () => {
    const config = load(await explained(`h 443 u k/\${HOME} j _ 5`));
    assert.deepEqual(server(config, 'h').key, { file: `${cwd}/k/\${HOME}` });
  });

  test('the dialect of 2015 is taken over from the environment', async () => {
    assert.match(await explained('h 443 u k j b/ 5', { FERRY_DIALECT: 'eof' }), /dialect: eof/);
    const args = ['ssl', '--explain', 'h', '443'];
    const { code, stderr } = await runFerry(args, { cwd, env: { FERRY_DIALECT: '2015' } });
    assert.equal(code, 1);
    assert.match(stderr, /FERRY_DIALECT[\s\S]*hint: set it to acked/);
  });

  test('calls that cannot become a configuration say why', async () => {
    assert.match(await explained('h 443'), /sends once/);
    assert.match(await explained('h 443 u k _ _ 5'), /does nothing/);
  });
});
