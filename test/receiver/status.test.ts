import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { ReceiverAppStatus, StatusReport } from '../../src/status/report.js';
import { Site } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, startFerry, until } from '../support/process.js';
import { claim, ship } from './harness.js';

failOnLeaks();

interface Ops {
  site: Site;
  status(): Promise<NonNullable<StatusReport['receiver']>>;
  table(): Promise<string>;
}

function appOf(receiver: NonNullable<StatusReport['receiver']>, name: string): ReceiverAppStatus {
  const found = receiver.apps.find(({ app }) => app === name);
  assert.ok(found, JSON.stringify(receiver));
  return found;
}

async function ops(): Promise<Ops> {
  const site = await Site.make();
  writeFileSync(
    site.path('receiver.yaml'),
    `receiver:
  listen: 127.0.0.1:0
  tls: {cert: ./cert.pem, key: ./cert.key}
  apps:
    - {name: foo.r, keys: [./key], apply: [sh, -c, "[ -e go ] && cat >> out"]}
    - {name: "*", keys: [./key]}
`,
  );
  const run = async (...more: string[]): Promise<string> => {
    const words = ['status', '-c', 'receiver.yaml', ...more];
    const { code, stdout, stderr } = await runFerry(words, { cwd: site.dir });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  return {
    site,
    status: async () => {
      const report = JSON.parse(await run('--json')) as StatusReport;
      assert.deepEqual([report.version, report.redis.ok, report.routes], [1, true, []]);
      assert.ok(report.receiver);
      return report.receiver;
    },
    table: () => run(),
  };
}

test('ferry status of a receiver says what waits, why, and when that is over; it needs no Redis', async () => {
  const { site, status, table } = await ops();
  const before = await status();
  assert.equal(before.running, false);
  assert.deepEqual(appOf(before, 'foo.r'), {
    app: 'foo.r',
    storedBatches: 0,
    appliedBatches: 0,
    waitingBatches: 0,
    waitingBytes: 0,
    oldestAgeMs: 0,
    attempts: 0,
    lastError: null,
    lastErrorCode: null,
    lastErrorAt: null,
  });
  assert.equal(existsSync(site.path('received')), false, 'asking made something');

  const ferry = startFerry(['receiver', '-c', 'receiver.yaml', '--log-format', 'json'], {
    cwd: site.dir,
  });
  const port = Number(/"port":(\d+)/.exec(await ferry.line(/receiver listens/))?.[1]);
  const ca = readFileSync(site.path('cert.pem'));
  const to = (app: string) => ({
    url: `${app}/!replica`,
    key: Buffer.from(site.keyText),
    tls: { verify: true, ca, servername: null },
  });
  await ship(port, 'one', claim(1, 0, 'one'), undefined, to('foo.r'));
  await ship(port, 'three', claim(2, 1, 'three'), undefined, to('foo.r'));
  await ship(port, 'x', claim(1, 0, 'x'), undefined, to('any.r'));
  await ferry.line(/apply failed/);
  let failing = await status();
  await until('the failure is told', async () => {
    failing = await status();
    return appOf(failing, 'foo.r').attempts > 0;
  });
  assert.equal(failing.running, true);
  const app = appOf(failing, 'foo.r');
  assert.deepEqual(
    [app.storedBatches, app.appliedBatches, app.waitingBatches, app.waitingBytes],
    [2, 0, 2, 8],
  );
  assert.equal(app.lastErrorCode, 'APPLY_FAILED');
  assert.match(app.lastError ?? '', /^APPLY_FAILED: .* exited with 1 at batch 1: /);
  const plain = appOf(failing, 'any.r');
  assert.deepEqual([plain.storedBatches, plain.appliedBatches, plain.waitingBatches], [1, null, 0]);
  const text = await table();
  assert.match(text, /^Receiver: running\n\nAPP +STORED +APPLIED +WAITING +OLDEST +TRIES\n/);
  assert.match(text, /^foo\.r +2 +0 +2 \(8 B\) .*\n {4}APPLY_FAILED: /m);
  assert.doesNotMatch(text, /Redis/);

  writeFileSync(site.path('go'), '');
  await until('it is over', async () => {
    const { appliedBatches, waitingBatches, lastError } = appOf(await status(), 'foo.r');
    return appliedBatches === 2 && waitingBatches === 0 && lastError === null;
  });
  await ferry.kill('SIGKILL');
  const after = await status();
  assert.equal(after.running, false);
  assert.equal(appOf(after, 'foo.r').storedBatches, 2);
});
