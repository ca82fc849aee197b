import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FULL_CONFIG, MINIMAL_CONFIG } from '../config/samples.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

interface BadInput {
  name: string;
  text: string;
  line: number;
  field: string;
  message: RegExp;
  hint?: RegExp;
}

const DESTINATION = MINIMAL_CONFIG.slice(0, MINIMAL_CONFIG.indexOf('journals:'));
const swap = (from: string, to: string) => MINIMAL_CONFIG.replace(from, to);

const BAD_INPUTS: readonly BadInput[] = [
  {
    name: 'broken YAML',
    text: 'journals: [a\nstate: x\n',
    line: 2,
    field: '',
    message: /flow sequence|Flow/,
  },
  {
    name: 'an unknown field at the top',
    text: `jornals: []\n${MINIMAL_CONFIG}`,
    line: 1,
    field: 'jornals',
    message: /unknown field/,
    hint: /did you mean journals/,
  },
  {
    name: 'an unknown field deep inside',
    text: swap('to: replica}', 'to: replica, flush: {quite: 1s}}'),
    line: 7,
    field: 'journals[0].flush.quite',
    message: /unknown field/,
    hint: /quiet: 0ms/,
  },
  {
    name: 'a missing field',
    text: swap('    key: ./key/server\n', ''),
    line: 2,
    field: 'destinations.replica.key',
    message: /required field is missing/,
    hint: /key: \.\/key\/server/,
  },
  {
    name: 'a duration without unit',
    text: swap('to: replica}', 'to: replica, interval: 20}'),
    line: 7,
    field: 'journals[0].interval',
    message: /expected a duration.*found 20/,
    hint: /interval: 20s/,
  },
  {
    name: 'a size that is none',
    text: swap('to: replica}', 'to: replica, limits: {spool: 20 gigs}}'),
    line: 7,
    field: 'journals[0].limits.spool',
    message: /expected a size/,
    hint: /spool: 20GiB/,
  },
  {
    name: 'a port out of range',
    text: swap('    url:', '    port: 70000\n    url:'),
    line: 4,
    field: 'destinations.replica.port',
    message: /a whole number from 1 to 65535/,
    hint: /port: 443/,
  },
  {
    name: 'a dashboard beyond loopback without users',
    text: `${MINIMAL_CONFIG}dashboard: {listen: "0.0.0.0:3000"}\n`,
    line: 8,
    field: 'dashboard.listen',
    message: /open to anybody/,
    hint: /users: \[/,
  },
  {
    name: 'a dashboard password in plain text',
    text: `${MINIMAL_CONFIG}dashboard: {listen: "127.0.0.1:3000", users: [{name: ops, password: x}]}\n`,
    line: 8,
    field: 'dashboard.users[0].password',
    message: /no plain text/,
    hint: /env: FERRY_PASSWORD/,
  },
  {
    name: 'two journals with one name',
    text: `${MINIMAL_CONFIG}  - {name: foo, path: fifo/bar, to: replica}\n`,
    line: 8,
    field: 'journals[1]',
    message: /two journals are named "foo"/,
  },
  {
    name: 'two journals on one file',
    text: `${MINIMAL_CONFIG}  - {name: bar, path: ./fifo/foo, to: replica}\n`,
    line: 8,
    field: 'journals[1]',
    message: /the same file/,
  },
  {
    name: 'two journals to one host, port and url',
    text: `${swap('{journal}.r/', 'all.r/')}  - {name: bar, path: fifo/bar, to: replica}\n`,
    line: 8,
    field: 'journals[1]',
    message: /foo@replica and bar@replica lead to one place/,
    hint: /\{journal\}/,
  },
  {
    name: 'an unknown destination',
    text: swap('to: replica}', 'to: [replica, replca]}'),
    line: 7,
    field: 'journals[0].to[1]',
    message: /unknown destination "replca"/,
    hint: /known destinations: replica/,
  },
  {
    name: 'a journal inside the state directory',
    text: swap('path: fifo/foo', 'path: state/foo'),
    line: 7,
    field: 'journals[0].path',
    message: /inside the state directory/,
  },
  {
    name: 'a pattern that takes the configuration itself for a journal',
    text: `${DESTINATION}journals:\n  - {match: "./*", to: replica}\n`,
    line: 7,
    field: 'journals[0].match',
    message: /would be emptied as a journal/,
    hint: /exclude: \["ferry.yaml"\]/,
  },
  {
    name: 'a pattern in a directory name',
    text: `${DESTINATION}journals:\n  - {match: "*/foo", to: replica}\n`,
    line: 7,
    field: 'journals[0].match',
    message: /last part of the path/,
  },
  {
    name: 'one blob directory for many journals',
    text: `${DESTINATION}journals:\n  - {match: "fifo/*", blobs: blob/, to: replica}\n`,
    line: 7,
    field: 'journals[0].blobs',
    message: /share one blob directory/,
  },
  {
    name: 'one place for the journals of a pattern',
    text: `${swap('{journal}.r', 'foo.r').split('journals:')[0]}journals:\n  - {match: "fifo/*", to: replica}\n`,
    line: 7,
    field: 'journals[0].to',
    message: /go to one place, .*\/foo\.r\/!replica/,
    hint: /at destination replica: url: "\{journal\}/,
  },
  {
    name: 'a variable between braces without quotes, once and not as sixteen errors',
    text: `destinations: {replica: {host: \${HOST}, url: a, key: ./k}}\n`,
    line: 1,
    field: '',
    message: /variable in braces must be quoted/,
    hint: /write: "\$\{HOST\}"/,
  },
  {
    name: 'a password that is written out, without showing it',
    text: `${DESTINATION}dashboard: {listen: 127.0.0.1:1, users: [{name: ops, password: hush-hush}]}\n`,
    line: 6,
    field: 'dashboard.users[0].password',
    message: /^(?!.*hush).*no plain text here/,
  },
  {
    name: 'a key in two ways',
    text: swap('key: ./key/server', 'key: {text: a, file: b}'),
    line: 5,
    field: 'destinations.replica.key.file',
    message: /unknown field/,
    hint: /remove it, or the other fields/,
  },
  {
    name: 'a journal name with a separator',
    text: swap('name: foo', 'name: "a~b"'),
    line: 7,
    field: 'journals[0].name',
    message: /may not hold "~"/,
  },
  {
    name: 'a destination name with a separator',
    text: swap('  replica:', '  "rep@lica":'),
    line: 2,
    field: 'destinations.rep@lica',
    message: /may not hold "@"/,
  },
  {
    name: 'a journal with neither path nor match',
    text: `${DESTINATION}journals:\n  - {name: foo, to: replica}\n`,
    line: 7,
    field: 'journals[0]',
    message: /needs path .* or match/,
  },
  {
    name: 'a variable that is not set',
    text: swap('replica.example.com', '$' + '{FERRY_NO_SUCH}'),
    line: 3,
    field: 'destinations.replica.host',
    message: /variable FERRY_NO_SUCH is not set/,
    hint: /export FERRY_NO_SUCH=/,
  },
  {
    name: 'HTTP/2 without identity',
    text: swap('    url:', '    dialect: h2\n    identity: false\n    url:'),
    line: 5,
    field: 'destinations.replica.identity',
    message: /knows a batch by its identity/,
    hint: /identity: true/,
  },
  {
    name: 'a Redis url of another kind',
    text: `redis: http://example.com\n${MINIMAL_CONFIG}`,
    line: 1,
    field: 'redis',
    message: /redis:\/\/host:6379/,
  },
  {
    name: 'nothing at all',
    text: '# empty\n',
    line: 1,
    field: '',
    message: /nothing is configured/,
  },
];

function writeConfig(text: string): string {
  const dir = tempDir();
  writeFileSync(join(dir, 'ferry.yaml'), text);
  return dir;
}

for (const { name, text, line, field, message, hint } of BAD_INPUTS) {
  test(`config check names file, line and field, and starts nothing: ${name}`, async () => {
    const dir = writeConfig(text);
    const { code, stdout, stderr } = await runFerry(['config', 'check'], { cwd: dir });
    assert.equal(code, 2, stderr);
    assert.equal(stdout, '');
    const place =
      field === '' ? /./ : new RegExp(` ${field.replace(/[.*+?^$()[\]{}|\\]/g, '\\$&')}: `);
    assert.match(stderr, new RegExp(`^ferry: ferry\\.yaml:${line}:\\d+[ :]`));
    assert.match(stderr, place);
    assert.match(stderr, message);
    assert.match(stderr, /^hint: ./m);
    if (hint !== undefined) assert.match(stderr, hint);
    assert.deepEqual(readdirSync(dir), ['ferry.yaml']);
  });
}

test('a role does not start on a bad configuration either', async () => {
  const dir = writeConfig(swap('to: replica}', 'to: nowhere}'));
  for (const role of ['run', 'producer', 'worker', 'receiver', 'status']) {
    const { code, stderr } = await runFerry([role], { cwd: dir });
    assert.equal(code, 2, role);
    assert.match(stderr, /unknown destination "nowhere"/);
  }
  assert.deepEqual(readdirSync(dir), ['ferry.yaml']);
});

test('a missing file is named, with the option for another', async () => {
  const { code, stderr } = await runFerry(['run', '-c', 'no/such.yaml'], { cwd: tempDir() });
  assert.equal(code, 2);
  assert.match(stderr, /there is no configuration file no\/such\.yaml\nhint: .*-c/);
});

test('a role that the file does not describe says what to add', async () => {
  const dir = writeConfig(MINIMAL_CONFIG);
  const { code, stderr } = await runFerry(['receiver'], { cwd: dir });
  assert.equal(code, 2);
  assert.match(stderr, /has no receiver\nhint: add: receiver: \{/);
});

test('a valid file is called valid', async () => {
  const dir = writeConfig(FULL_CONFIG);
  const { code, stdout, stderr } = await runFerry(['config', 'check', '-c', 'ferry.yaml'], {
    cwd: dir,
    env: { FERRY_PASSWORD: 'geheim' },
  });
  assert.equal(code, 0, stderr);
  assert.match(
    stdout,
    /^ferry\.yaml is valid: 2 journal rules, 3 destinations, a receiver, a dashboard\n$/,
  );
  assert.equal(stderr, '');
});

test('config print shows defaults and no secrets; config schema needs no file', async () => {
  const dir = writeConfig(swap('key: ./key/server', 'key: {text: geheim}'));
  const printed = await runFerry(['config', 'print'], { cwd: dir });
  assert.equal(printed.code, 0, printed.stderr);
  assert.match(printed.stdout, /interval: 20s/);
  assert.doesNotMatch(printed.stdout, /geheim/);
  const schema = await runFerry(['config', 'schema'], { cwd: tempDir() });
  assert.equal(schema.code, 0);
  assert.equal(JSON.parse(schema.stdout).type, 'object');
});

failOnLeaks();
