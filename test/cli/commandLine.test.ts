import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const PACKAGE = new URL('../../../package.json', import.meta.url);

test('--help lists every command and the global options, exit code 0', async () => {
  const { code, stdout } = await runFerry(['--help']);
  assert.equal(code, 0);
  for (const word of ['run', 'producer', 'worker', 'receiver', 'status', 'config']) {
    assert.match(stdout, new RegExp(`^  ${word}\\b`, 'm'));
  }
  for (const option of ['--config', '--log-level', '--log-format', '--no-color']) {
    assert.match(stdout, new RegExp(option));
  }
});

test('every command has its own help', async () => {
  for (const command of [['run'], ['status'], ['config', 'check'], ['receiver']]) {
    const { code, stdout } = await runFerry([...command, '--help']);
    assert.equal(code, 0, command.join(' '));
    assert.match(stdout, /^Usage: ferry /);
  }
});

test('--version is the version of the package', async () => {
  const { code, stdout } = await runFerry(['--version']);
  assert.equal(code, 0);
  assert.equal(stdout.trim(), JSON.parse(readFileSync(PACKAGE, 'utf8')).version);
});

test('a wrong command line ends with exit code 2 and a way out', async () => {
  const wrong: [string[], RegExp][] = [
    [['rum'], /unknown command 'rum'.*\n.*Did you mean run\?/],
    [['run', '--idle'], /unknown option '--idle'/],
    [['run', '--idle-exit', '5'], /Expected a duration such as 30s/],
    [['run', 'extra'], /too many arguments/],
    [['--log-format', 'xml', 'status'], /Allowed choices are json, pretty/],
    [['--log-level', 'loud', 'status'], /Allowed choices are/],
    [['config', 'chekc'], /unknown command 'chekc'/],
  ];
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = await runFerry(args);
    assert.equal(code, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, message);
    assert.match(stderr, /ferry --help|Did you mean/);
  }
});

test('without a command the help is an error', async () => {
  const { code, stdout, stderr } = await runFerry([]);
  assert.equal(code, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /^Usage: ferry /);
});

test('global options may stand before and after the command', async () => {
  const dir = tempDir();
  writeFileSync(join(dir, 'other.yaml'), 'state: [\n');
  for (const args of [
    ['-c', 'other.yaml', 'config', 'check'],
    ['config', 'check', '-c', 'other.yaml'],
    ['config', '--config', 'other.yaml', 'check'],
  ]) {
    const { code, stderr } = await runFerry(args, { cwd: dir });
    assert.equal(code, 2);
    assert.match(stderr, /^ferry: other\.yaml:/);
  }
});

failOnLeaks();
