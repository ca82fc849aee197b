import assert from 'node:assert/strict';
import { renameSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { WireDestination } from '../../src/config/model.js';
import { connectionsSettled, send } from '../../src/protocol/index.js';
import { resolveEndpoint } from '../../src/workers/endpoint.js';
import { testCerts } from '../support/certs.js';
import { tempDir } from '../support/tempDir.js';
import { pieces, scriptedServer } from './scriptedServer.js';

const folder = tempDir();
const keyFile = join(folder, 'key');
writeFileSync(keyFile, 'one\n');

function destination(changes: Partial<WireDestination> = {}): WireDestination {
  return {
    kind: 'wire',
    name: 'replica',
    host: 'localhost',
    port: 443,
    url: '{journal}.r/!replica',
    key: { file: keyFile },
    dialect: 'acked',
    confirm: 'applied',
    tls: { verify: true, caFile: null, servername: null, certFile: null, keyFile: null },
    connections: 4,
    timeouts: { connectMs: 2_000, idleMs: 2_000, applyMs: 2_000 },
    identity: true,
    was: [],
    ...changes,
  };
}

describe('resolving a destination for one attempt', () => {
  test('the key file is read afresh each time, verbatim', async () => {
    assert.equal((await resolveEndpoint(destination(), 'foo')).key.toString(), 'one\n');
    writeFileSync(keyFile, 'two\nlines\n');
    const endpoint = await resolveEndpoint(destination(), 'foo');
    assert.equal(endpoint.key.toString(), 'two\nlines\n');
    assert.equal(endpoint.url, 'foo.r/!replica');
  });

  test('a key is known again by its stamps once it is old enough for them to tell', async () => {
    const file = join(folder, 'rotated');
    const read = async (): Promise<string> =>
      (await resolveEndpoint(destination({ key: { file } }), 'foo')).key.toString();
    writeFileSync(file, 'aaa\n');
    assert.equal(await read(), 'aaa\n');
    const { atime, mtime } = statSync(file);
    // Same size, same times, same moment: nothing but the content tells them apart.
    writeFileSync(file, 'bbb\n');
    utimesSync(file, atime, mtime);
    assert.equal(await read(), 'bbb\n');
    const longAgo = new Date(Date.now() - 60_000);
    utimesSync(file, longAgo, longAgo);
    assert.equal(await read(), 'bbb\n');
    writeFileSync(file, 'ccc\n');
    assert.equal(await read(), 'ccc\n');
    const moved = join(folder, 'moved');
    writeFileSync(moved, 'ddd\n');
    utimesSync(moved, longAgo, longAgo);
    renameSync(moved, file);
    assert.equal(await read(), 'ddd\n');
  });

  test('a host with a slash is a file whose first line is the address', async () => {
    const host = join(folder, 'host');
    await assert.rejects(resolveEndpoint(destination({ host }), 'foo'), {
      code: 'HOST_FILE_MISSING',
    });
    writeFileSync(host, '\n');
    await assert.rejects(resolveEndpoint(destination({ host }), 'foo'), {
      code: 'HOST_FILE_MISSING',
    });
    for (const address of ['192.0.2.1', '192.0.2.2']) {
      writeFileSync(host, `${address}\nrest\n`);
      assert.equal((await resolveEndpoint(destination({ host }), 'foo')).host, address);
    }
  });

  test('missing files and a key without newline have codes of their own', async () => {
    const bad = join(folder, 'bad');
    writeFileSync(bad, 'no newline');
    const tls = {
      verify: true,
      caFile: '/no/ca.pem',
      servername: null,
      certFile: null,
      keyFile: null,
    };
    for (const [changes, code] of [
      [{ key: { file: '/no/key' } }, 'KEY_FILE_MISSING'],
      [{ key: { file: bad } }, 'KEY_WITHOUT_NEWLINE'],
      [{ tls }, 'CA_FILE_MISSING'],
    ] as const) {
      await assert.rejects(resolveEndpoint(destination(changes), 'foo'), { code });
    }
  });

  test('SSL_CERT_FILE is trusted where no ca is configured', async () => {
    const server = await scriptedServer(async (seen) => {
      await seen.until((bytes) => bytes.toString('latin1').endsWith('T'));
      seen.socket.write('T');
      await seen.ended;
      seen.socket.end();
    });
    const attempt = async () =>
      send({
        endpoint: await resolveEndpoint(destination({ port: server.port }), 'foo'),
        body: { kind: 'batch' },
        bytes: 1,
        payload: pieces('x'),
        mayConfirm: () => true,
        signal: new AbortController().signal,
      });
    const before = process.env['SSL_CERT_FILE'];
    try {
      delete process.env['SSL_CERT_FILE'];
      await assert.rejects(attempt(), { code: 'CERTIFICATE_INVALID' });
      process.env['SSL_CERT_FILE'] = testCerts().caFile;
      assert.equal((await attempt()).confirmed, true);
    } finally {
      if (before === undefined) delete process.env['SSL_CERT_FILE'];
      else process.env['SSL_CERT_FILE'] = before;
      await connectionsSettled();
      await server.stop();
    }
  });
});
