import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { failOnLeaks } from '../support/leaks.js';
import { start, type TestProcess } from '../support/process.js';

const FIXTURE = fileURLToPath(new URL('./runRole.fixture.js', import.meta.url));

function role(behaviour: string): TestProcess {
  return start(process.execPath, [FIXTURE, behaviour]);
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} stops a role once and cleanly, exit code 0`, async () => {
    const child = role('works');
    await child.line(/"up"/);
    assert.deepEqual(await child.kill(signal), { code: 0, signal: null });
    assert.equal(child.stdout.match(/stop called/g)?.length, 1);
    assert.match(child.stdout, /"stopped"/);
  });
}

test('a second signal ends a role that hangs while stopping, exit code 1', async () => {
  const child = role('hangs');
  await child.line(/"up"/);
  child.signal('SIGTERM');
  await child.line(/stop called/);
  assert.deepEqual(await child.kill('SIGTERM'), { code: 1, signal: null });
});

test('a role that hangs while stopping is ended within 10 s, exit code 1', async () => {
  const child = role('hangs');
  await child.line(/"up"/);
  assert.deepEqual(await child.kill('SIGTERM'), { code: 1, signal: null });
  // By its own clock, in its log: how soon a busy machine lets us see the end says nothing.
  const at = (pattern: RegExp): number => {
    const line = child.stdout.split('\n').find((text) => pattern.test(text));
    return Date.parse((JSON.parse(line ?? '{}') as { time: string }).time);
  };
  assert.ok(at(/ending at once/) - at(/SIGTERM: stopping/) < 10_000);
});

test('SIGHUP, a closed terminal, ends nothing', async () => {
  const child = role('works');
  await child.line(/"up"/);
  child.signal('SIGHUP');
  await child.line(/SIGHUP: going on/);
  assert.equal((await child.kill('SIGTERM')).code, 0);
});

test('a role with nothing to do ends by itself after --idle-exit, exit code 0', async () => {
  const child = role('idle');
  assert.equal((await child.end()).code, 0);
  assert.match(child.stdout, /nothing to do/);
});

test('a role that cannot start says why: exit code 2 for the configuration, else 1', async () => {
  const config = role('bad-config');
  assert.equal((await config.end()).code, 2);
  assert.match(config.stdout, /no such thing/);
  const luck = role('bad-start');
  assert.equal((await luck.end()).code, 1);
  assert.match(luck.stdout, /no luck/);
});

test('a role that cannot go on stops the rest and ends with exit code 1', async () => {
  const child = role('fails');
  assert.equal((await child.end()).code, 1);
  assert.match(child.stdout, /lost the lock[\s\S]*stop called/);
});

test('a forgotten rejection is logged as a bug and ends the process, exit code 1', async () => {
  const child = role('bug');
  assert.equal((await child.end()).code, 1);
  assert.match(child.stdout, /"level":"fatal".*forgotten/);
});

test('a reader of the log that goes away does not end the role', async () => {
  const child = spawn(process.execPath, [FIXTURE, 'talks'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  await once(child.stdout, 'data');
  child.stdout.destroy();
  // Long enough for many lines into the closed pipe.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(child.exitCode, null, errors);
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  assert.equal(code, 0, errors);
});

failOnLeaks();
