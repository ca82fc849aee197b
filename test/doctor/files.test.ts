import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { tryLock, unlock } from 'fs-native-extensions';
import { judgeDisk } from '../../src/operator/doctor/disk.js';
import { diagnose } from '../../src/operator/doctor/doctor.js';
import { examine, Findings } from '../../src/operator/doctor/examination.js';
import { judgeWatches } from '../../src/operator/doctor/limits.js';
import { tryBoth } from '../../src/operator/doctor/locks.js';
import type { CheckResult } from '../../src/operator/doctor/report.js';
import { makeCerts, testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { memoryDir } from '../support/tempDir.js';
import { levelsOf, of, Patient, said } from './patient.js';

const certs = testCerts();
failOnLeaks();

function judged(judge: (findings: Findings) => void, check: string): string {
  const findings = new Findings('x');
  judge(findings);
  return said(findings.results, check);
}

describe('ferry doctor looks at files', () => {
  it('and finds nothing wrong where all is as it should be', async () => {
    const patient = await Patient.make();
    const results = await patient.look();
    const checks = [
      ...['configuration', 'user', 'state directory', 'state file system', 'disk', 'journal'],
      ...['blobs', 'locks', 'open files', 'watches', 'key', 'receiver certificate'],
      ...['receiver data', 'receiver port', 'receiver key', 'receiver apply'],
    ];
    for (const check of checks) {
      assert.deepEqual(levelsOf(results, check), ['ok'], `${check}: ${said(results, check)}`);
    }
    assert.deepEqual(readdirSync(patient.path('state')), [], 'nothing was made');
    assert.ok(!existsSync(patient.path('received')));
  });

  it('and says what is wrong with a journal', async () => {
    const patient = await Patient.make();
    const journal = (fields: string): Promise<string> =>
      patient.look({ journal: `${fields}, to: replica` }).then((found) => said(found, 'journal'));
    assert.match(
      await journal('path: fifo/foo'),
      /^ok: readable, and may be emptied; 0 bytes wait/,
    );
    assert.match(await journal('path: fifo/gone'), /^warn: is not there.*path right/);
    assert.match(await journal('path: gone/foo'), /^fail: there is no directory .*gone/);
    assert.match(await journal('name: foo, path: fifo'), /^fail: is no file/);
    assert.match(await journal('match: fifo/*'), /^ok: 1 journal may be read and emptied/);
    assert.match(await journal('match: fifo/x*'), /^warn: no file fits the pattern now/);
  });

  it('and of very many journals says the first problems and counts the rest', async () => {
    const patient = await Patient.make();
    for (let n = 0; n < 30; n += 1) writeFileSync(patient.path(`fifo/j${n}`), '');
    const journal = 'match: fifo/j*, blobs: "blob/{journal}/", to: replica';
    const blobs = said(await patient.look({ journal }), 'blobs').split('\n');
    assert.equal(blobs.length, 11);
    assert.match(String(blobs[0]), /^warn: there is no directory .*blob\/j\d+/);
    assert.match(String(blobs[10]), /^warn: and 20 more like these/);
  });

  it('and sees that a journal may only be appended to', async (t) => {
    const patient = await Patient.make();
    const path = patient.path('fifo/foo');
    const chattr = (flag: string): boolean => {
      try {
        execFileSync('chattr', [flag, path], { stdio: 'ignore' });
        return true;
      } catch {
        return false;
      }
    };
    if (!chattr('+a')) return t.skip('chattr needs root and a file system with attributes');
    try {
      assert.match(said(await patient.look(), 'journal'), /^fail: .*EPERM.*chattr -a/);
    } finally {
      chattr('-a');
    }
  });

  it('and at each blob directory', async () => {
    const patient = await Patient.make();
    const results = await patient.look({ journal: 'path: fifo/foo, blobs: none, to: replica' });
    assert.match(said(results, 'blobs'), /^warn: there is no directory .*none/);
  });

  it('and at the state directory: its mode, its file system, what it is', async () => {
    const patient = await Patient.make();
    const state = patient.path('state');
    chmodSync(state, 0o755);
    assert.match(said(await patient.look(), 'state directory'), /^warn: mode 0755.*chmod 700/);
    rmSync(state, { recursive: true });
    assert.match(said(await patient.look(), 'state directory'), /^ok: will be made/);
    assert.ok(!existsSync(state));
    writeFileSync(state, '');
    assert.match(said(await patient.look(), 'state directory'), /^fail: is no directory/);
    const memory = memoryDir();
    const other = await Patient.make();
    const inMemory = other.config();
    const results = await diagnose({ ...inMemory, stateDir: memory });
    assert.match(said(results, 'state file system'), /^warn: tmpfs lies in memory: a power cut/);
  });

  it('and tries locks where nobody sees it: no file appears, and a lock that is held stays', async () => {
    const patient = await Patient.make();
    const events: string[] = [];
    const watcher = watch(patient.path('fifo'), (event, name) => events.push(`${event} ${name}`));
    const writer = openSync(patient.path('fifo/foo'), constants.O_RDWR);
    assert.ok(tryLock(writer));
    const results = await patient.look();
    assert.match(said(results, 'locks'), /^ok: .*fcntl locks exclude/);
    assert.match(said(results, 'journal'), /^ok: /);
    writeFileSync(patient.path('fifo/bar'), '');
    while (events.length === 0) await new Promise((resolve) => watcher.once('change', resolve));
    watcher.close();
    assert.deepEqual(new Set(events.map((event) => event.split(' ')[1])), new Set(['bar']));
    unlock(writer);
    closeSync(writer);
  });

  it('and tells locks that exclude from those that do not', async () => {
    const patient = await Patient.make();
    const file = await open(patient.path('fifo/foo'), 'r+');
    const other = await open(patient.path('fifo/foo'), 'r+');
    assert.equal(await tryBoth(file), 'excludes');
    unlock(file.fd);
    assert.ok(tryLock(other.fd));
    assert.equal(await tryBoth(file), 'taken');
    // A file system that grants every lock: those of some network mounts.
    assert.equal(await tryBoth(file, () => true), 'excludes nobody');
    await file.close();
    await other.close();
    const absent = await patient.look({ journal: 'path: gone/foo, to: replica' });
    assert.match(said(absent, 'locks'), /^skipped: the directory is not there/);
  });

  it('and at room on the disk', () => {
    const mib = 1024 * 1024;
    const disk = (freeBytes: number, freeInodes: number | null): string =>
      judged((findings) => judgeDisk({ freeBytes, freeInodes }, findings), 'disk');
    assert.match(disk(5_000 * mib, 1_000_000), /^ok: 5000 MiB free, 1000000 inodes/);
    assert.match(disk(5_000 * mib, null), /^ok: 5000 MiB free$/);
    assert.match(disk(500 * mib, null), /^warn: only 500 MiB free/);
    assert.match(disk(63 * mib, 1_000_000), /^fail: 63 MiB free, and captures stop below 64 MiB/);
    assert.match(disk(5_000 * mib, 5), /^fail: .*only 5 inodes/);
    assert.match(disk(5_000 * mib, 500), /^warn: .*only 500 inodes/);
  });

  it('and at limits of the kernel', () => {
    const watches = (limit: number, instances: number, used: number, needed: number): string =>
      judged(
        (findings) =>
          judgeWatches(
            { watches: limit, instances },
            { watches: used, instances: 1 },
            needed,
            findings,
          ),
        'watches',
      );
    assert.match(watches(100, 10, 5, 2), /^ok: one watch for each of 2 directories; 5 of 100/);
    assert.match(watches(100, 10, 99, 2), /^warn: .*sysctl/);
    assert.match(watches(100, 1, 0, 2), /^warn: /);
    assert.match(watches(1, 10, 0, 2), /^fail: /);
  });

  it('and at the receiver’s certificate, key and data folder', async () => {
    const patient = await Patient.make();
    const receiver = (
      tls: string,
      more = 'apps: [{name: "*", keys: [./key]}]',
    ): Promise<CheckResult[]> =>
      patient.look({ receiver: `{listen: 127.0.0.1:0, tls: {${tls}}, ${more}}` });
    const pair = `cert: "${certs.certFile}", key: "${certs.keyFile}"`;
    const other = makeCerts({ names: 'DNS:localhost', days: 5 });
    const old = makeCerts({ names: 'DNS:localhost', days: 0 });
    const cases: [tls: string, expected: RegExp][] = [
      [pair, /^ok: fits its key, for DNS:localhost/],
      [`cert: "${certs.certFile}", key: "${other.keyFile}"`, /^fail: .*not this certificate’s key/],
      [`cert: "${old.certFile}", key: "${old.keyFile}"`, /^fail: has expired on 2020/],
      [`cert: "${other.certFile}", key: "${other.keyFile}"`, /^warn: expires on/],
      [`cert: ./gone.pem, key: "${certs.keyFile}"`, /^fail: .*gone.pem cannot be read \(ENOENT\)/],
      [`cert: "${certs.keyFile}", key: "${certs.keyFile}"`, /^fail: .*no PEM that can be used/],
    ];
    for (const [tls, expected] of cases) {
      assert.match(said(await receiver(tls), 'receiver certificate'), expected);
    }
    const apps = await receiver(
      pair,
      'apps: [{name: a, keys: [./gone], apply: ["no-such-program"]}, {name: b, keys: [./key], apply: ["./script"]}]',
    );
    assert.match(said(apps, 'receiver key'), /^fail: .*gone cannot be read.*\nok: /);
    assert.match(said(apps, 'receiver apply'), /^fail: no-such-program is no program.*\nfail: /);
    writeFileSync(patient.path('received'), '');
    assert.match(said(await receiver(pair), 'receiver data'), /^fail: is no directory/);
  });

  it('and at the receiver’s port: free, taken, or of another machine', async () => {
    const patient = await Patient.make();
    const pair = `{cert: "${certs.certFile}", key: "${certs.keyFile}"}`;
    const port = async (listen: string): Promise<string> =>
      said(
        await patient.look({
          receiver: `{listen: "${listen}", tls: ${pair}, apps: [{name: "*", keys: [./key]}]}`,
        }),
        'receiver port',
      );
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    const place = `127.0.0.1:${address.port}`;
    assert.match(await port(place), /^fail: in use, and no receiver runs.*ss -ltnp/);
    await new Promise((resolve) => server.close(resolve));
    assert.match(await port(place), /^ok: free/);
    assert.match(await port('192.0.2.1:4443'), /^fail: this machine has no such address/);
  });

  it('and at the ports and passwords of metrics and dashboard', async () => {
    const patient = await Patient.make();
    writeFileSync(patient.path('password'), 'open-sesame-3691\n', { mode: 0o600 });
    writeFileSync(patient.path('blank'), '\n', { mode: 0o600 });
    const users = [
      '{name: a, password: {file: ./password}}',
      '{name: b, password: {file: ./blank}}',
      '{name: c, password: {file: ./gone}}',
      '{name: d, password: {env: FERRY_DOCTOR_UNSET}}',
    ];
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    const results = await patient.look({
      receiver: '',
      more: `metrics: {listen: "192.0.2.1:9464"}\ndashboard: {listen: "127.0.0.1:${address.port}", users: [${users.join(', ')}]}`,
    });
    await new Promise((resolve) => server.close(resolve));
    assert.match(said(results, 'metrics port'), /^fail: cannot be opened \(EADDRNOTAVAIL\)/);
    assert.match(said(results, 'dashboard port'), /^ok: in use/);
    assert.deepEqual(levelsOf(results, 'dashboard password'), ['ok', 'fail', 'fail', 'warn']);
    assert.doesNotMatch(JSON.stringify(results), /sesame/);
  });

  it('and stops waiting for what hangs, and says so', async () => {
    const results = await examine(
      [
        {
          check: 'disk',
          subject: 'a dead mount',
          async run(findings) {
            findings.ok('before', 'was seen');
            await new Promise<void>(() => undefined);
          },
        },
        { check: 'other', subject: 'x', run: async (findings) => findings.ok('other', 'fine') },
      ],
      { eachMs: 50, allMs: 1_000 },
    );
    assert.deepEqual(
      results.map(({ check, level }) => `${check} ${level}`),
      ['before ok', 'disk fail', 'other ok'],
    );
    assert.match(said(results, 'disk'), /no answer within/);
    const late = await examine(
      [{ check: 'late', subject: 'x', run: () => Promise.reject(new Error('is not run')) }],
      { eachMs: 50, allMs: 0 },
    );
    assert.match(said(late, 'late'), /^skipped: no time was left/);
  });

  it('and says of a written out key only that others may read the file', async () => {
    const patient = await Patient.make();
    const destination = 'host: localhost, port: 1, url: a, key: {text: open-sesame-2468}';
    await patient.configure({ destination });
    chmodSync(patient.path('ferry.yaml'), 0o644);
    const results = await patient.look({ destination });
    const [, warning] = of(results, 'configuration');
    assert.match(String(warning?.message), /holds a key, and others may read it/);
    assert.doesNotMatch(JSON.stringify(results), /sesame/);
  });
});
