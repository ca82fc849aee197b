import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, describe, it } from 'node:test';
import { judgeClock } from '../../src/operator/doctor/clock.js';
import { examine, Findings } from '../../src/operator/doctor/examination.js';
import { redisExamination } from '../../src/operator/doctor/redis.js';
import type { CheckResult } from '../../src/operator/doctor/report.js';
import { makeCerts, testCerts } from '../support/certs.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { NEEDED_RIGHTS, startTestRedis } from '../support/redis.js';
import { TestCluster } from '../support/redisCluster.js';
import { closer, listen } from '../support/servers.js';
import { of, Patient, said } from './patient.js';

const patient = await Patient.make();
const certs = testCerts();
const redis = await startTestRedis({
  settings: (port) => ({
    port: '0',
    'tls-port': String(port),
    'tls-cert-file': certs.certFile,
    'tls-key-file': certs.keyFile,
    'tls-ca-cert-file': certs.caFile,
    'tls-auth-clients': 'no',
  }),
  tcp: true,
});
failOnLeaks();

const ALL = ['redis role', 'redis eviction', 'redis durability', 'redis memory', 'redis rights'];

function look(redisField: string, more = ''): Promise<CheckResult[]> {
  return examine([redisExamination(patient.config({ redis: redisField, more }))]);
}

describe('ferry doctor looks at Redis', () => {
  it('and finds nothing wrong with one that is as it should be, over a socket and over TLS', async () => {
    const tls = `{url: "rediss://localhost:${redis.port}", tls: {ca: "${certs.caFile}"}}`;
    for (const field of [redis.url, tls]) {
      const results = await look(field);
      assert.match(said(results, 'redis'), /^ok: (Redis|Valkey) \d/);
      for (const check of [...ALL, 'clock']) assert.match(said(results, check), /^ok: /, check);
    }
    assert.equal(await redis.command('DBSIZE'), '0', 'the tries have left nothing behind');
  });

  /** Settings of a running server, each broken for one look. */
  const BROKEN: readonly [set: readonly [string, string], check: string, expected: RegExp][] = [
    [['maxmemory-policy', 'allkeys-lru'], 'redis eviction', /^fail: .*allkeys-lru.*noeviction/],
    [['appendonly', 'no'], 'redis durability', /^fail: .*no append-only file.*appendonly yes/],
    [['appendfsync', 'everysec'], 'redis durability', /^warn: .*last second.*appendfsync always/],
    [['appendfsync', 'no'], 'redis durability', /^warn: .*half minute/],
    [['maxmemory', '100kb'], 'redis memory', /^fail: .*takes nothing more.*raise maxmemory/],
  ];
  for (const [[name, value], check, expected] of BROKEN) {
    it(`and says what is wrong with ${name} ${value}`, async () => {
      const before = { appendonly: 'yes', appendfsync: 'always', maxmemory: '0' } as const;
      await redis.command('CONFIG', 'SET', name, value);
      try {
        assert.match(said(await look(redis.url), check), expected);
      } finally {
        const usual = Reflect.get(before, name) ?? 'noeviction';
        await redis.command('CONFIG', 'SET', name, usual);
      }
    });
  }

  it('and lets one without append-only file pass where the configuration allows it in words', async () => {
    await redis.command('CONFIG', 'SET', 'appendonly', 'no');
    try {
      const results = await look(`{url: "${redis.url}", durability: none}`);
      assert.match(said(results, 'redis durability'), /^warn: .*forgets everything/);
    } finally {
      await redis.command('CONFIG', 'SET', 'appendonly', 'yes');
    }
  });

  it('and says which memory is too small for payloads in Redis', async () => {
    await redis.command('CONFIG', 'SET', 'maxmemory', '24mb');
    try {
      const results = await look(redis.url, 'payloads: redis');
      assert.match(said(results, 'redis memory'), /^warn: .*too little for payloads: redis/);
    } finally {
      await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    }
  });

  it('and names what its user may not do, and never its password', async () => {
    const user = async (...rights: string[]): Promise<CheckResult[]> => {
      await redis.command('ACL', 'SETUSER', 'ferry', 'reset', 'on', '>hush', ...rights);
      return look(`{url: "${redis.url}", username: ferry, password: hush}`);
    };
    const own = ['~{ferry}:*', '&{ferry}:*'];
    const good = await user(...own, ...NEEDED_RIGHTS);
    assert.match(said(good, 'redis rights'), /^ok: /);
    assert.match(said(good, 'redis durability'), /^warn: .*CONFIG is forbidden/);
    const withoutHashes = await user(...own, ...NEEDED_RIGHTS, '-@hash');
    assert.match(said(withoutHashes, 'redis rights'), /^fail: .*HSET.*HGETALL.*ACL SETUSER/);
    const otherKeys = await user('~other:*', '&{ferry}:*', ...NEEDED_RIGHTS);
    assert.match(said(otherKeys, 'redis rights'), /^fail: .*EVAL/);
    const otherChannels = await user('~{ferry}:*', 'resetchannels', ...NEEDED_RIGHTS);
    assert.match(said(otherChannels, 'redis rights'), /^fail: .*PUBLISH, SUBSCRIBE/);
    const withoutInfo = await user(...own, ...NEEDED_RIGHTS, '-info');
    assert.match(said(withoutInfo, 'redis'), /^fail: .*-> .*\+info/);
    assert.match(said(withoutInfo, 'redis durability'), /^skipped: INFO is not allowed/);
    const wrong = await look(`{url: "${redis.url}", username: ferry, password: hash}`);
    assert.match(said(wrong, 'redis'), /^fail: .*WRONGPASS.*redis\.password/);
    for (const results of [good, withoutHashes, wrong]) {
      assert.doesNotMatch(JSON.stringify(results), /hush|hash"/);
    }
  });

  it('and says why it is not reachable, and skips what depends on that', async () => {
    const port = await freePort();
    const other = makeCerts({ names: 'DNS:localhost', days: 30 });
    const cases: [string, RegExp][] = [
      [`redis://u:hush@127.0.0.1:${port}`, /^fail: .*ECONNREFUSED.*start it/],
      [`unix://${patient.path('no.sock')}`, /^fail: .*ENOENT.*path of the socket/],
      [
        `{url: "rediss://localhost:${redis.port}", tls: {ca: "${other.caFile}"}}`,
        /^fail: .*certificate.*redis: \{tls/,
      ],
      [`{url: "rediss://localhost:${redis.port}", tls: {ca: ./nothing.pem}}`, /^fail: .*ENOENT/],
    ];
    for (const [field, expected] of cases) {
      const results = await look(field);
      assert.match(said(results, 'redis'), expected, field);
      for (const check of [...ALL, 'clock']) {
        assert.match(said(results, check), /^skipped: Redis is not reachable/);
      }
      assert.doesNotMatch(JSON.stringify(results), /hush/);
    }
  });

  it('and gives up one that takes the connection and says nothing', async () => {
    const silent = createServer();
    const close = closer(silent);
    const port = await listen(silent);
    const patience = { eachMs: 400, allMs: 10_000 };
    const config = patient.config({ redis: `redis://127.0.0.1:${port}` });
    const results = await examine([redisExamination(config)], patience);
    assert.match(said(results, 'redis'), /^fail: no answer within/);
    await close();
  });

  it('and tells a replica from its primary, whose lack of a safeguard it names', async () => {
    const replica = await startTestRedis({ tcp: true });
    const primary = await startTestRedis({
      tcp: true,
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await replica.command('REPLICAOF', '127.0.0.1', String(primary.port));
    await primary.command('WAIT', '1', '10000');
    assert.match(said(await look(replica.url), 'redis role'), /^fail: it is a replica.*primary/);
    const loose = said(await look(primary.url), 'redis role');
    assert.match(loose, /^warn: primary, 1 replica, .*min-replicas-to-write 1/);
    await primary.command('CONFIG', 'SET', 'min-replicas-to-write', '1');
    assert.match(said(await look(primary.url), 'redis role'), /^ok: primary, 1 replica/);
  });

  it('and looks at the node of a cluster that serves our slot', async () => {
    const cluster = await TestCluster.start(1);
    const [node] = cluster.nodes;
    assert.ok(node !== undefined);
    const named = await look(`{cluster: ["${node.address}"]}`);
    assert.match(said(named, 'redis role'), /^warn: primary of our slot in a cluster, 0 replicas/);
    assert.match(said(named, 'redis rights'), /^ok: /);
    const alone = await look(`redis://${node.address}`);
    assert.match(said(alone, 'redis role'), /^warn: .*names only this node.*redis: \{cluster/);
  });

  it('and finds the program of an embedded one that does not run, without making anything', async () => {
    const results = await look('embedded');
    assert.match(said(results, 'redis'), /^ok: does not run now.*\d+\.\d+\.\d+/);
    assert.match(said(results, 'clock'), /^skipped: the embedded Redis does not run now/);
    const path = process.env['PATH'];
    mkdirSync(patient.path('empty'), { recursive: true });
    process.env['PATH'] = patient.path('empty');
    after(() => {
      process.env['PATH'] = path;
    });
    const none = await look('embedded');
    process.env['PATH'] = path;
    assert.match(said(none, 'redis'), /^fail: .*none is on the PATH.*apt-get install redis-tools/);
    assert.equal(execFileSync('ls', ['-A', patient.path('state')], { encoding: 'utf8' }), '');
  });

  it('and says from which difference on the clocks are a problem', () => {
    // A clock that goes wrong cannot be had without setting the machine's.
    const levels = (skewMs: number, tookMs = 1): string => {
      const findings = new Findings('redis');
      judgeClock({ skewMs, tookMs }, findings);
      return of(findings.results, 'clock')
        .map(({ level, message }) => `${level}: ${message}`)
        .join('');
    };
    assert.match(levels(12), /^ok: agrees with Redis’s within 12 ms/);
    assert.match(levels(-1_500), /^warn: Redis’s clock is 1.5 s behind/);
    assert.match(levels(3_600_000), /^fail: Redis’s clock is 3600.0 s ahead of .*leases/);
    assert.match(levels(1_500, 2_000), /^ok: /, 'a slow answer proves no difference');
  });
});
