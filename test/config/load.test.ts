import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/load.js';
import type { FerryConfig, WireDestination } from '../../src/config/model.js';
import { printConfig } from '../../src/config/print.js';
import { ConfigError } from '../../src/config/problems.js';
import { jsonSchema } from '../../src/config/schema.js';
import { FULL_CONFIG, MINIMAL_CONFIG } from './samples.js';

function load(text: string, env: Record<string, string> = {}): FerryConfig {
  return parseConfig(text, { file: '/etc/ferry/ferry.yaml', env });
}

function wire(config: FerryConfig, name: string): WireDestination {
  const destination = config.destinations.get(name);
  assert.ok(destination?.kind === 'wire');
  return destination;
}

test('a minimal file gets every default', () => {
  const config = load(MINIMAL_CONFIG);
  assert.deepEqual(config.redis, { kind: 'embedded', prefix: 'ferry', allowWithoutAof: false });
  assert.equal(config.stateDir, '/etc/ferry/state');
  assert.equal(config.payloads, 'spool');
  assert.deepEqual(config.archive, { keepMs: 7 * 24 * 3600 * 1000, maxBytes: 1024 ** 3 });
  assert.deepEqual(config.destinations.get('replica'), {
    kind: 'wire',
    name: 'replica',
    host: 'replica.example.com',
    port: 443,
    url: '{journal}.r/!replica',
    key: { file: '/etc/ferry/key/server' },
    dialect: 'acked',
    confirm: 'applied',
    tls: { verify: true, caFile: null, servername: null, certFile: null, keyFile: null },
    connections: 4,
    timeouts: { connectMs: 10_000, idleMs: 60_000, applyMs: 1_800_000 },
    identity: true,
    was: [],
  });
  assert.deepEqual(config.journals, [
    {
      kind: 'path',
      name: 'foo',
      path: '/etc/ferry/fifo/foo',
      blobs: null,
      to: [{ destination: 'replica', start: 'next' }],
      intervalMs: 20_000,
      attempts: 0,
      flush: { quietMs: 0, maxBytes: 16 * 2 ** 20, trimAboveBytes: null },
      limits: { ahead: 64, queuedBytes: 256 * 2 ** 20, spoolBytes: 20 * 2 ** 30 },
    },
  ]);
});

test('every documented field is read', () => {
  const config = load(FULL_CONFIG, { FERRY_PASSWORD: 'geheim' });
  assert.equal(wire(config, 'replica').tls.caFile, '/etc/ferry/ca.pem');
  assert.deepEqual(config.destinations.get('replica')?.was, ['oldname']);
  assert.deepEqual(config.journals[0]?.to, [
    { destination: 'replica', start: 'next' },
    { destination: 'backup', start: 'paused' },
  ]);
  const [, rule] = config.journals;
  assert.equal(rule?.kind === 'match' && rule.dir, '/etc/ferry/fifo');
  assert.equal(rule?.kind === 'match' && rule.pattern, '*');
  assert.equal(rule?.blobs, '/etc/ferry/db/{journal}/blob');
  assert.deepEqual(config.dashboard?.listen, { host: '127.0.0.1', port: 3000 });
  assert.equal(config.receiver?.dataDir, '/etc/ferry/received');
  assert.deepEqual(config.receiver?.apps[0]?.apply, ['sh', '-c', 'cat >> replica.log']);
  assert.equal(config.receiver?.apps[0]?.ack, 'applied');
  assert.deepEqual(config.receiver?.apps[0]?.limits, {
    bytesPerSecond: 10 * 2 ** 20,
    requestsPerMinute: 600,
    storedBytes: 100 * 2 ** 30,
  });
  assert.deepEqual(config.receiver?.proxies, [
    { address: '10.0.0.0', bits: 8 },
    { address: '::1', bits: 128 },
  ]);
  assert.equal(config.receiver?.tls?.clientCaFile, '/etc/ferry/clients.pem');
  assert.equal(config.receiver?.tls?.ticketKeysMs, 12 * 3_600_000);
});

test('variables are expanded in values, also to numbers, and $$ keeps one as it is', () => {
  const text = MINIMAL_CONFIG.replace(
    'host: replica.example.com',
    () => `host: \${HOST}.example.com\n    port: \${PORT}\n    was: "a$\${b}"`,
  );
  const destination = wire(load(text, { HOST: 'h1', PORT: '8443' }), 'replica');
  assert.equal(destination.host, 'h1.example.com');
  assert.equal(destination.port, 8443);
  assert.deepEqual(destination.was, [`a\${b}`]);
});

test('a worker needs destinations only', () => {
  const config = load(MINIMAL_CONFIG.slice(0, MINIMAL_CONFIG.indexOf('journals:')));
  assert.deepEqual(config.journals, []);
  assert.equal(config.destinations.size, 1);
});

test('redis may be a url, a socket, sentinels or a cluster', () => {
  const withRedis = (redis: string) => load(`redis: ${redis}\n${MINIMAL_CONFIG}`).redis;
  assert.equal(withRedis('embedded').kind, 'embedded');
  const url = withRedis('rediss://r.example.com:6380');
  assert.equal(url.kind === 'url' && url.url, 'rediss://r.example.com:6380');
  const socket = withRedis('{url: "unix:///run/redis.sock", prefix: f2, durability: none}');
  assert.equal(socket.kind === 'url' && socket.url, 'unix:///run/redis.sock');
  assert.equal(socket.prefix, 'f2');
  assert.equal(socket.allowWithoutAof, true);
  const sentinels = withRedis('{sentinels: {name: m, hosts: ["10.0.0.1:26379", "[::1]:1"]}}');
  assert.deepEqual(sentinels.kind === 'url' && sentinels.sentinels, {
    name: 'm',
    hosts: [
      { host: '10.0.0.1', port: 26379 },
      { host: '::1', port: 1 },
    ],
  });
  const tls = withRedis('{url: "rediss://r", tls: {ca: ca.pem, verify: false}}');
  assert.deepEqual(tls.kind === 'url' && tls.tls, {
    rejectUnauthorized: false,
    ca: '/etc/ferry/ca.pem',
  });
});

test('the printed configuration reads back as the same configuration', () => {
  const env = { FERRY_PASSWORD: 'geheim' };
  const config = load(FULL_CONFIG, env);
  const again = load(printConfig(config), env);
  assert.deepEqual(again, config);
});

test('the printed configuration holds no secrets', () => {
  const printed = printConfig(
    load(
      `redis: {url: "redis://joe:geheim1@r:6379", password: geheim2}\n${MINIMAL_CONFIG.replace(
        'key: ./key/server',
        'key: {text: geheim3}',
      )}`,
    ),
  );
  assert.doesNotMatch(printed, /geheim/);
  assert.equal(printed.match(/\*\*\*/g)?.length, 3);
});

test('the JSON Schema describes what may be written', () => {
  const schema = jsonSchema();
  assert.equal(schema['additionalProperties'], false);
  const properties = schema['properties'];
  assert.ok(typeof properties === 'object' && properties !== null);
  assert.deepEqual(Object.keys(properties).sort(), Object.keys(parse(FULL_CONFIG)).sort());
  // Fields with defaults may be left out.
  assert.equal(schema['required'], undefined);
});

test('all problems of a file are listed at once, in the order of their lines', () => {
  const text = `payloads: disk
destinations:
  replica:
    host: h
    url: u
    prot: 12
journals:
  - {path: a, to: replica, attempts: -1}
`;
  assert.throws(
    () => load(text),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      const found = error.problems.map((problem) => `${problem.line} ${problem.field}`);
      assert.deepEqual(found, [
        '1 payloads',
        '3 destinations.replica.key',
        '6 destinations.replica.prot',
        '8 journals[0].attempts',
      ]);
      assert.match(error.message, /4 problems/);
      assert.match(error.message, /did you mean port\?/);
      return true;
    },
  );
});
