import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createTcpServer, type Server } from 'node:net';
import { describe, it } from 'node:test';
import { createServer } from 'node:tls';
import { destinationExaminations } from '../../src/operator/doctor/destinations.js';
import { examine } from '../../src/operator/doctor/examination.js';
import type { CheckResult } from '../../src/operator/doctor/report.js';
import { atEnd } from '../support/atEnd.js';
import { makeCerts, type TestCerts, testCerts } from '../support/certs.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { closer, listen } from '../support/servers.js';
import { Patient, said } from './patient.js';

const patient = await Patient.make();
const good = testCerts();
failOnLeaks();

/** What a server has seen of its clients. */
interface Seen {
  port: number;
  bytes: number;
  /** Clients that ended with close_notify and an end of file. */
  politeEnds: number;
  connections: number;
}

async function serve(certs: TestCerts): Promise<Seen> {
  const seen: Seen = { port: 0, bytes: 0, politeEnds: 0, connections: 0 };
  const server = createServer({ cert: certs.cert, key: certs.key }, (socket) => {
    seen.connections += 1;
    socket.on('data', (chunk: Buffer) => {
      seen.bytes += chunk.length;
    });
    socket.on('end', () => {
      seen.politeEnds += 1;
    });
    socket.on('error', () => undefined);
  });
  seen.port = await open(server);
  return seen;
}

function open(server: Server): Promise<number> {
  atEnd(closer(server));
  return listen(server);
}

function look(fields: string, more = ''): Promise<CheckResult[]> {
  const destination = `url: "{journal}.r/!replica", ${fields}`;
  return examine(destinationExaminations(patient.config({ destination, more })));
}

const KEY = 'key: ./key';

describe('ferry doctor looks at destinations', () => {
  it('and shakes hands with one that is as it should be, sends not a byte, and says goodbye', async () => {
    const server = await serve(good);
    const results = await look(
      `host: localhost, port: ${server.port}, ${KEY}, tls: {ca: "${good.caFile}"}`,
    );
    for (const check of ['key', 'host name', 'connection', 'tls', 'certificate']) {
      assert.match(said(results, check), /^ok: /, check);
    }
    assert.match(said(results, 'certificate'), /for localhost, valid until \d{4}-\d\d-\d\d/);
    await until('the server has seen the end', () => server.politeEnds === 1);
    assert.deepEqual(
      { connections: server.connections, bytes: server.bytes },
      { connections: 1, bytes: 0 },
    );
  });

  it('and says what is wrong with a certificate', async () => {
    const cases: [string, TestCerts, tls: string, expected: RegExp][] = [
      [
        'another name',
        certsFor('DNS:elsewhere.example', 30),
        '',
        /^fail: is for DNS:elsewhere.example, not for localhost.*tls\.servername/,
      ],
      ['expired', certsFor('DNS:localhost', 0), '', /^fail: has expired on 2020-01-02.*renew/],
      ['soon', certsFor('DNS:localhost', 5), '', /^warn: expires on .*, in [45] days.*renew/],
      ['not checked', good, 'verify: false', /^warn: is not looked at .*tls: \{ca/],
      [
        'another servername',
        good,
        'servername: other.example',
        /^fail: is for .*not for other.example/,
      ],
    ];
    for (const [what, certs, tls, expected] of cases) {
      const { port } = await serve(certs);
      const trust = `tls: {ca: "${certs.caFile}"${tls === '' ? '' : `, ${tls}`}}`;
      const results = await look(`host: localhost, port: ${port}, ${KEY}, ${trust}`);
      assert.match(said(results, 'certificate'), expected, what);
      assert.match(said(results, 'tls'), /^ok: TLSv1/, what);
    }
  });

  it('and says that nobody trusted here has signed it', async () => {
    const other = certsFor('DNS:localhost', 30);
    const { port } = await serve(other);
    for (const tls of [`{ca: "${good.caFile}"}`, '{}']) {
      const results = await look(`host: localhost, port: ${port}, ${KEY}, tls: ${tls}`);
      assert.match(
        said(results, 'certificate'),
        /^fail: .*not signed by an authority trusted here.*tls\.ca/,
      );
    }
  });

  it('and says that nobody listens, that the name has no address, or that it is no TLS', async () => {
    const closed = await freePort();
    const refused = await look(`host: localhost, port: ${closed}, ${KEY}`);
    assert.match(said(refused, 'connection'), /^fail: localhost:\d+ refuses connections/);
    assert.match(said(refused, 'tls'), /^skipped: there is no connection/);
    assert.match(said(refused, 'certificate'), /^skipped: /);
    const nowhere = await look(`host: no-such-host.invalid, port: 443, ${KEY}`);
    assert.match(said(nowhere, 'host name'), /^fail: no-such-host.invalid has no address/);
    assert.match(said(nowhere, 'connection'), /^skipped: the name has no address/);
    const plain = await open(createTcpServer((socket) => socket.end('HTTP/1.0 400 Bad\r\n\r\n')));
    const spoken = await look(`host: 127.0.0.1, port: ${plain}, ${KEY}`);
    assert.match(said(spoken, 'connection'), /^ok: /);
    assert.match(said(spoken, 'tls'), /^fail: .*TLS handshake.*TLS 1.2/);
    assert.match(said(spoken, 'certificate'), /^skipped: there is no TLS/);
  });

  it('and gives up one that takes the connection and says nothing', async () => {
    const silent = await open(createTcpServer(() => undefined));
    const results = await look(
      `host: 127.0.0.1, port: ${silent}, ${KEY}, timeouts: {connect: 300ms}`,
    );
    assert.match(said(results, 'tls'), /^fail: .*has not answered within 300 ms/);
  });

  it('and reads the address from a file as a worker does', async () => {
    const { port } = await serve(good);
    writeFileSync(patient.path('address'), 'localhost\n');
    const tls = `tls: {ca: "${good.caFile}"}`;
    const there = await look(`host: ./address, port: ${port}, ${KEY}, ${tls}`);
    assert.match(said(there, 'certificate'), /^ok: /);
    const missing = await look(`host: ./nothing, port: ${port}, ${KEY}, ${tls}`);
    assert.match(said(missing, 'host name'), /^fail: .*host file .*ENOENT/);
    assert.match(said(missing, 'connection'), /^skipped: /);
    const noCa = await look(`host: localhost, port: ${port}, ${KEY}, tls: {ca: ./nothing.pem}`);
    assert.match(said(noCa, 'certificate'), /^fail: .*CA file .*ENOENT/);
  });

  it('and says whether one that is to speak HTTP/2 does', async () => {
    const { port } = await serve(good);
    const h2 = await open(
      createServer({ cert: good.cert, key: good.key, ALPNProtocols: ['h2'] }, (socket) => {
        socket.on('error', () => undefined).resume();
      }),
    );
    const tls = `tls: {ca: "${good.caFile}"}, dialect: h2`;
    const spoken = await look(`host: localhost, port: ${h2}, ${KEY}, ${tls}`);
    assert.match(said(spoken, 'tls'), /^ok: TLSv1.3, HTTP\/2/);
    const not = await look(`host: localhost, port: ${port}, ${KEY}, ${tls}`);
    assert.match(said(not, 'tls'), /^fail: TLSv1.3, but no HTTP\/2 -> write: dialect: acked/);
  });

  it('and says what is wrong with a key file, and never what is in it', async () => {
    const text = readFileSync(patient.path('key'), 'utf8').trim();
    const cases: [content: string | null, mode: number, expected: RegExp][] = [
      [`${text}\n`, 0o600, /^ok: .*mode 0600/],
      [`${text}\n`, 0o640, /^ok: .*mode 0640/],
      [`${text}\n`, 0o644, /^warn: .*mode 0644: everybody here may use it.*chmod 600/],
      [text, 0o600, /^fail: .*does not end in a newline/],
      ['\n', 0o600, /^fail: .*empty line/],
      ['', 0o600, /^fail: .*newline/],
      [`${text}\r\n`, 0o600, /^warn: .*carriage return/],
      [`${text}\n${text}\n`, 0o600, /^warn: .*has 2 lines/],
      [null, 0, /^fail: .*cannot be read \(ENOENT\).*create it/],
    ];
    for (const [index, [content, mode, expected]] of cases.entries()) {
      const name = `key${index}`;
      if (content !== null) {
        writeFileSync(patient.path(name), content);
        chmodSync(patient.path(name), mode);
      }
      const results = await look(`host: 127.0.0.1, port: 1, key: ./${name}`);
      assert.match(said(results, 'key'), expected);
      assert.ok(!JSON.stringify(results).includes(text), 'the key is not shown');
    }
    const written = await look(`host: 127.0.0.1, port: 1, key: {text: "${text}"}`);
    assert.match(said(written, 'key'), /^ok: stands in the configuration/);
    assert.ok(!JSON.stringify(written).includes(text));
  });

  it('and at directories that copies go to', async () => {
    mkdirSync(patient.path('there'));
    const copies = (list: string): Promise<CheckResult[]> =>
      examine(destinationExaminations(patient.config({ destination: `directories: [${list}]` })));
    assert.match(said(await copies('./there'), 'directories'), /^ok: all 1 are writable/);
    assert.match(
      said(await copies('./there, ./gone'), 'directories'),
      /^fail: there is no .*gone.*mkdir/,
    );
  });
});

function certsFor(names: string, days: number): TestCerts {
  return makeCerts({ names, days });
}
