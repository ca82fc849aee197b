import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import {
  hashPassword,
  parsePasswordHash,
  passwordFits,
  strangersHash,
} from '../../src/common/password.js';
import { Guesses } from '../../src/dashboard/guesses.js';
import { Users } from '../../src/dashboard/users.js';
import { failOnLeaks } from '../support/leaks.js';
import { FERRY, runFerry, TestProcess, until } from '../support/process.js';
import { onTerminal } from '../support/terminal.js';

failOnLeaks();

const HOUR_MS = 3600 * 1000;

async function someone(now: () => number): Promise<Users> {
  const scrypt = await hashPassword('a few words');
  return Users.of([{ name: 'ops', readOnly: false, password: { scrypt } }], now);
}

test('a session ends when it is old, and only then', async () => {
  let now = 1_000;
  const users = await someone(() => now);
  const login = await users.login('ops', 'a few words');
  assert.ok(typeof login === 'object' && 'session' in login);
  now += 12 * HOUR_MS - 1;
  assert.equal(users.of(login.session)?.name, 'ops');
  now += 1;
  assert.equal(users.of(login.session), null);
  assert.equal(users.of('something else'), null);
});

test('while a name is closed the right password is not looked at either, nor is a name that there is not', async () => {
  let now = 0;
  const users = await someone(() => now);
  for (const name of ['ops', 'nobody']) {
    for (let tries = 0; tries < 3; tries += 1) {
      assert.equal(await users.login(name, 'a guess'), 'wrong');
    }
    assert.deepEqual(await users.login(name, 'a few words'), { retryAfterMs: 1_000 });
  }
  now += 1_000;
  assert.equal(await users.login('nobody', 'a few words'), 'wrong');
  const login = await users.login('ops', 'a few words');
  assert.ok(typeof login === 'object' && 'session' in login);
});

test('guessing closes a name for longer and longer, up to a minute, and not for ever', () => {
  let now = 0;
  const guesses = new Guesses(() => now);
  const pauses: number[] = [];
  for (let tries = 0; tries < 12; tries += 1) {
    guesses.count('ops');
    pauses.push(guesses.closedForMs('ops') / 1000);
    now += guesses.closedForMs('ops');
  }
  assert.deepEqual(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
  assert.equal(guesses.closedForMs('another'), 0);
  now += HOUR_MS;
  guesses.count('ops');
  assert.equal(guesses.closedForMs('ops'), 0, 'it begins anew');
  for (let tries = 0; tries < 3; tries += 1) guesses.count('ops');
  guesses.forget('ops');
  assert.equal(guesses.closedForMs('ops'), 0, 'it was right');
});

test('names that somebody makes up do not fill the memory', () => {
  const guesses = new Guesses(() => 0);
  for (let tries = 0; tries < 3; tries += 1) guesses.count('ops');
  for (let name = 0; name < 999; name += 1) guesses.count(`name ${name}`);
  assert.ok(guesses.closedForMs('ops') > 0);
  guesses.count('one more');
  assert.equal(guesses.closedForMs('ops'), 0, 'the oldest is forgotten');
});

test('a password fits its own hash, and nothing fits that of a stranger', async () => {
  const hash = await hashPassword('sesam öffne dich');
  assert.match(hash, /^scrypt\.15\.8\.1\./);
  assert.notEqual(await hashPassword('sesam öffne dich'), hash, 'each has a salt of its own');
  assert.equal(await passwordFits('sesam öffne dich', hash), true);
  assert.equal(await passwordFits('sesam öffne dich ', hash), false);
  assert.equal(await passwordFits('', hash), false);
  const stranger = strangersHash(hash);
  assert.ok(parsePasswordHash(stranger) !== null, 'it costs as much to be compared with');
  assert.equal(await passwordFits('sesam öffne dich', stranger), false);
  for (const text of ['', 'plain', 'scrypt.99.8.1.aaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbb']) {
    assert.equal(parsePasswordHash(text), null, text);
  }
});

test('a password that cannot be read is said before anything is started', async () => {
  const wanted = { code: 'DASHBOARD_PASSWORD', kind: 'usage' };
  const of = (password: { env: string } | { file: string }) =>
    Users.of([{ name: 'ops', readOnly: false, password }]);
  const is = (pattern: RegExp) => (error: unknown) => {
    assert.ok(error instanceof FerryError);
    assert.deepEqual({ code: error.code, kind: error.kind }, wanted);
    return pattern.test(error.message);
  };
  await assert.rejects(of({ env: 'FERRY_NO_SUCH_VARIABLE' }), is(/ops: .*VARIABLE is empty/));
  await assert.rejects(of({ file: '/nowhere/secret' }), is(/\/nowhere\/secret .*ENOENT/));
});

test('--hash-password prints a hash of what it reads, and nothing else', async () => {
  const child = new TestProcess(process.execPath, [FERRY, 'dashboard', '--hash-password']);
  child.stdin.end('a few words\n');
  assert.deepEqual(await child.end(), { code: 0, signal: null });
  assert.equal(child.stderr, '');
  assert.equal(await passwordFits('a few words', child.stdout.trimEnd()), true);
  const nothing = await runFerry(['dashboard', '--hash-password']);
  assert.equal(nothing.code, 2);
  assert.match(nothing.stderr, /there is no password/);
});

test('--hash-password on a terminal ends when the input does', async () => {
  const child = onTerminal('dashboard --hash-password', '.');
  await until('it asks', () => child.stdout.includes('password: '));
  child.stdin.write('\x04');
  assert.equal((await child.end()).code, 2);
  assert.match(child.stdout, /there is no password/);
});

test('--help says where the users stand, and a file without a dashboard what to add', async () => {
  const help = await runFerry(['dashboard', '--help']);
  assert.equal(help.code, 0);
  assert.match(help.stdout, /--hash-password[\s\S]*dashboard: \{listen: 127\.0\.0\.1:3000, users:/);
});
