import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type { DoctorReport } from '../../src/operator/doctor/report.js';
import { Site, Writer } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { FERRY, type Result, runFerry, start, startFerry } from '../support/process.js';
import { KEY_TEXT, Patient, said } from './patient.js';
import { canBeStranger, ferryAsStranger } from './stranger.js';

failOnLeaks();

function parse(result: Result): DoctorReport {
  return JSON.parse(result.stdout) as DoctorReport;
}

/** Everything below a directory, by name. */
function tree(directory: string): string[] {
  return readdirSync(directory, { recursive: true }).map(String).sort();
}

describe('ferry doctor', () => {
  it('may be run beside a running sender and receiver, disturbs neither and leaves nothing behind', async () => {
    const site = await Site.make();
    const receiver = await site.startReceiver();
    await site.configure({
      destinations: { replica: { port: receiver.port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 1s'],
    });
    writeFileSync(
      site.path('ferry.yaml'),
      `${await readFile(site.path('ferry.yaml'), 'utf8')}receiver:
  listen: 127.0.0.1:${receiver.port}
  tls: {cert: ./cert.pem, key: ./cert.key}
  apps: [{name: "*", keys: [./key]}]
`,
    );
    const ferry = await site.start('run');
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit();
    await site.arrived('foo', writer.written);
    const before = tree(site.dir);
    // Commits go on meanwhile: neither may wait for the other.
    const [result] = await Promise.all([
      runFerry(['doctor', '--json'], { cwd: site.dir }),
      (async () => {
        for (let commit = 0; commit < 20; commit += 1) await writer.commit();
      })(),
    ]);
    assert.equal(result.code, 0, result.stdout + result.stderr);
    const { version, ok, checks } = parse(result);
    assert.deepEqual({ version, ok }, { version: 1, ok: true });
    for (const { check, subject, level, message, hint } of checks) {
      assert.equal(typeof check + typeof subject + typeof message, 'stringstringstring');
      // Of Node 20, and of a certificate that a test makes for two days, a warning is right.
      if (check !== 'node' && !check.endsWith('certificate')) assert.equal(level, 'ok', message);
      assert.equal(hint !== null, level === 'warn', `${check}: ${hint}`);
    }
    assert.match(said(checks, 'redis rights'), /^ok: /);
    assert.match(said(checks, 'receiver port'), /^ok: in use, and a receiver runs/);
    await site.arrived('foo', writer.written);
    const ofBatches = /^(received|state\/spool|state\/archive)(\/|$)/;
    const fresh = tree(site.dir).filter((name) => !before.includes(name) && !ofBatches.test(name));
    assert.deepEqual(fresh, []);
    assert.deepEqual(await ferry.kill('SIGTERM'), { code: 0, signal: null });
    assert.doesNotMatch(ferry.stdout, /"level":"(warn|error|fatal)"/);
    await receiver.process.kill('SIGTERM');
    assert.doesNotMatch(receiver.process.stdout, /"level":"(warn|error|fatal)"|handshake failed/);
  });

  it('prints one line per check with what to do, and ends with 1 when one has failed', async () => {
    const patient = await Patient.make();
    await patient.configure({ receiver: '', redis: 'redis://user:hush@127.0.0.1:1' });
    const { code, stdout, stderr } = await runFerry(['doctor'], { cwd: patient.dir });
    assert.equal(code, 1, stdout + stderr);
    assert.equal(stderr, '');
    assert.match(
      stdout,
      /^fail {5}redis {2,}redis:\/\/127.0.0.1:1 {2,}.*ECONNREFUSED.*: start it/m,
    );
    assert.match(stdout, /^skipped {2}redis role .*Redis is not reachable$/m);
    assert.match(stdout, /^ok {7}key {2,}replica .*mode 0600$/m);
    assert.match(stdout, /^\d+ ok, (\d+ warn, )?2 fail, \d+ skipped$/m);
    const lines = stdout.trimEnd().split('\n').slice(0, -2);
    for (const line of lines) assert.match(line, /^(ok|warn|fail|skipped) +\S/);
    assert.ok(!stdout.includes(KEY_TEXT) && !stdout.includes('hush'));
    const json = parse(await runFerry(['doctor', '--json'], { cwd: patient.dir }));
    assert.equal(json.ok, false);
    assert.equal(json.checks.length, lines.length);
  });

  it('says what is wrong with a configuration, as every command does, and ends with 2', async () => {
    const patient = await Patient.make();
    writeFileSync(
      patient.path('ferry.yaml'),
      'journals:\n  - {name: foo, path: fifo/foo, to: nowhere}\ntypo: 1\n',
    );
    const text = await runFerry(['doctor'], { cwd: patient.dir });
    assert.equal(text.code, 2);
    assert.match(text.stdout, /^fail .*configuration .*typo.*unknown field/m);
    assert.match(text.stderr, /ferry.yaml:3:1 typo: unknown field/);
    const json = await runFerry(['doctor', '--json'], { cwd: patient.dir });
    assert.equal(json.code, 2);
    const { ok, checks } = parse(json);
    assert.equal(ok, false);
    assert.match(said(checks, 'configuration'), /^fail: line 3, typo: unknown field/);
    assert.match(said(checks, 'everything else'), /^skipped: /);
    const missing = await runFerry(['doctor', '-c', 'nothing.yaml', '--json'], {
      cwd: patient.dir,
      env: { FERRY_STATE: patient.path('no-daemons') },
    });
    assert.equal(missing.code, 2);
    assert.match(said(parse(missing).checks, 'configuration'), /^fail: there is no configuration/);
  });

  it('tells another user what he may not do, and leaves nothing of his behind', async () => {
    const patient = await Patient.make();
    await patient.configure({ receiver: '' });
    chmodSync(patient.dir, 0o755);
    chmodSync(patient.path('ferry.yaml'), 0o644);
    // Root sees what a stranger sees only as a stranger; others take their own rights away.
    const shut = canBeStranger ? [] : ['state', 'fifo/foo', 'blob', 'key'];
    for (const name of shut) chmodSync(patient.path(name), 0);
    const ferry = canBeStranger ? ferryAsStranger() : [process.execPath, FERRY];
    const [program = '', ...args] = [...ferry, 'doctor', '--json'];
    const child = start(program, args, { cwd: patient.dir });
    child.stdin.end();
    const { code } = await child.end();
    for (const name of shut) chmodSync(patient.path(name), 0o700);
    assert.equal(code, 1, child.output);
    const { checks } = JSON.parse(child.stdout) as DoctorReport;
    assert.match(
      said(checks, 'state directory'),
      /^fail: this user lacks the right to read, write/,
    );
    assert.match(said(checks, 'journal'), /^fail: this user may not (read and )?write it/);
    assert.match(said(checks, 'blobs'), /^fail: .*not (read, )?write.*remove links/);
    assert.match(said(checks, 'key'), /^fail: .*EACCES/);
    assert.match(said(checks, 'redis'), /^skipped: this user may not look into/);
    assert.deepEqual(readdirSync(patient.path('state')), []);
    assert.ok(!existsSync(patient.path('received')));
  });

  it('ends in time, and with its report, though a file hangs for ever', async () => {
    const patient = await Patient.make();
    // A named pipe that nobody writes to: reading it holds a thread, as a dead mount does, and Node
    // does not end while a thread is held. The whole command hung at that, report or not.
    execFileSync('mkfifo', [patient.path('pipe')]);
    const destination = 'host: localhost, port: 1, url: a, key: ./pipe, tls: {ca: ./pipe}';
    await patient.configure({ receiver: '', destination });
    const child = startFerry(['doctor', '--json'], { cwd: patient.dir });
    assert.equal((await child.end(60_000)).code, 1, child.output);
    const { checks } = JSON.parse(child.stdout) as DoctorReport;
    assert.match(said(checks, 'connection'), /^fail: no answer within \d+ s/);
    assert.match(said(checks, 'key'), /^fail: .*pipe is no file/);
    assert.match(said(checks, 'journal'), /^ok: /);
  });

  it('counts the files that this shell lets a process open', async () => {
    const patient = await Patient.make();
    await patient.configure();
    const command = `ulimit -n 256; exec "$0" "$@"`;
    const args = ['-c', command, process.execPath, FERRY, 'doctor', '--json'];
    const child = start('sh', args, { cwd: patient.dir });
    await child.end();
    const { checks } = JSON.parse(child.stdout) as DoctorReport;
    assert.match(said(checks, 'open files'), /^fail: 256 allowed, up to \d+ needed -> ulimit -n/);
  });
});
