import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { hashPassword } from '../../src/common/password.js';
import { Site, Writer } from '../e2e/site.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { type TestProcess, until } from '../support/process.js';
import { logIn, TestBrowser } from './browser.js';
import { PASSWORD, portOf, withDashboard } from './client.js';

const ports = { replica: await freePort(), backup: await freePort() };
const site = await Site.make();
const hash = await hashPassword(PASSWORD);
const rule = 'interval: 100ms, attempts: 2, flush: {maxBytes: 1KiB}';
await site.configure({
  destinations: { replica: { port: ports.replica }, backup: { port: ports.backup } },
  journals: [
    `name: foo, path: fifo/foo, to: replica, ${rule}`,
    `name: bar, path: fifo/bar, to: backup, ${rule}`,
  ],
});
await withDashboard(site, [
  `name: ops, password: {scrypt: ${hash}}`,
  `name: viewer, password: {scrypt: ${hash}}, readOnly: true`,
]);
const ferry = await site.start('run');
const origin = `http://127.0.0.1:${await portOf(ferry)}`;
await site.startReceiver(ports.replica);
const browser = await TestBrowser.start();

failOnLeaks();

const foo = new Writer(site.path('fifo/foo'));
const bar = new Writer(site.path('fifo/bar'));

/** A batch of its own, as large as a capture waits for. */
async function capture(writer: Writer): Promise<void> {
  await writer.commit(2_000);
  await until('it is captured', () => statSync(writer.path).size === 0);
}

/** The receiver of `backup`, whose data lie apart. */
async function backup(): Promise<TestProcess> {
  return (await site.startReceiver(ports.backup, { data: 'backup' })).process;
}

const row = (page: Page, route: string) =>
  page.locator('tbody tr').filter({ has: page.getByRole('rowheader', { name: route }) });

/** The page shows it by itself: nobody has reloaded it. */
async function shows(page: Page, route: string, state: string): Promise<void> {
  await row(page, route).locator('.state', { hasText: state }).waitFor();
}

async function loggedIn(name: string): Promise<Page> {
  const page = await browser.page(origin);
  await logIn(page, name, PASSWORD);
  await page.getByRole('heading', { name: 'journal-ferry' }).waitFor();
  await page.waitForURL('/');
  return page;
}

test('a login needs the right password, and ends with the logout', async () => {
  const page = await browser.page(origin);
  await logIn(page, 'ops', 'wrong');
  await page.getByText('Name or password is wrong.').waitFor();
  await logIn(page, 'ops', PASSWORD);
  await page.getByText('Need you').waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByLabel('Password').waitFor();
  await page.goto('/queues');
  assert.equal(new URL(page.url()).pathname, '/login');
  await page.context().close();
});

test('a blocked batch is replayed by a click, and the page tells by itself how it stands', async () => {
  const page = await loggedIn('ops');
  await capture(bar);
  await shows(page, 'bar@backup', 'blocked');
  await row(page, 'bar@backup').getByText('CONNECTION_REFUSED').waitFor();
  const receiver = await backup();
  await page.getByRole('button', { name: 'Replay bar@backup' }).click();
  await page.getByText('bar@backup: tried again').waitFor();
  await site.arrived('bar', bar.written, 'backup');
  await shows(page, 'bar@backup', 'idle');
  await receiver.kill('SIGTERM');
  assert.match(
    audit(),
    /"event":"replay","route":"bar@backup","detail":\{"by":"ops \(dashboard\)"\}/,
  );
  await page.context().close();
});

test('a route is paused and goes on by a click', async () => {
  const page = await loggedIn('ops');
  await capture(foo);
  await site.arrived('foo', foo.written);
  const before = foo.written.length;
  await shows(page, 'foo@replica', 'idle');
  await page.getByRole('button', { name: 'Pause foo@replica' }).click();
  await page.getByText('foo@replica: paused').waitFor();
  await capture(foo);
  await shows(page, 'foo@replica', 'paused');
  await row(page, 'foo@replica').getByText('2.0 KiB').waitFor();
  assert.equal((await site.received('foo')).length, before);
  await page.getByRole('button', { name: 'Resume foo@replica' }).click();
  await page.getByText('foo@replica: resumed').waitFor();
  await site.arrived('foo', foo.written);
  await page.context().close();
});

test('a batch is given up with a reason, and not without', async () => {
  const page = await loggedIn('ops');
  const kept = bar.written;
  await capture(bar);
  const upTo = bar.written.length;
  await shows(page, 'bar@backup', 'blocked');
  await capture(bar);
  await row(page, 'bar@backup').getByLabel('Skip batch 2 of bar@backup').click();
  const forGood = page.getByRole('button', { name: 'Skip it for good' });
  await forGood.click();
  assert.equal(new URL(page.url()).pathname, '/', 'the browser asks for a reason');
  assert.equal((await site.route('bar@backup')).skippedBatches, 0);
  await page.getByLabel('Give up batch 2 of bar@backup. Why?').fill('torn by a <full> disk');
  const receiver = await backup();
  await forGood.click();
  await page.getByText('batch 2 (2003 bytes) given up').waitFor();
  await site.arrived('bar', Buffer.concat([kept, bar.written.subarray(upTo)]), 'backup');
  await shows(page, 'bar@backup', 'idle');
  await row(page, 'bar@backup').getByText('1 skipped').waitFor();
  assert.match(
    audit(),
    /"event":"skip".*"reason":"torn by a <full> disk","by":"ops \(dashboard\)"/,
  );
  await receiver.kill('SIGTERM');
  await page.context().close();
});

test('“promote all”, “retry all” and “remove” are clicked while the destination is down, and its stream is still in order and complete', async () => {
  const page = await loggedIn('ops');
  const before = await site.received('bar', 'backup');
  const from = bar.written.length;
  for (let count = 0; count < 6; count += 1) await capture(bar);
  await until('it is blocked', async () => (await site.route('bar@backup')).state === 'blocked');
  for (let round = 0; round < 2; round += 1) {
    await page.goto('/queues/queue/batches?status=delayed');
    await page.getByRole('button', { name: 'Promote all' }).click();
    await confirmed(page, /\/promote$/);
    await page.goto('/queues/queue/batches?status=failed');
    await page.getByRole('button', { name: 'Retry all' }).click();
    await confirmed(page, /\/retry\/failed$/);
    await page.goto('/queues/queue/batches?status=delayed');
    await trashOf(page.getByText(/^bar@backup~\d+\.\d{10}$/).first()).click();
    await confirmed(page, /\/clean$/);
  }
  await backup();
  await page.goto('/');
  await page.getByRole('button', { name: 'Replay bar@backup' }).click();
  const expected = Buffer.concat([before, bar.written.subarray(from)]);
  await site.arrived('bar', expected, 'backup');
  for (const click of ['promote', 'retry', 'remove']) {
    assert.match(
      audit(),
      new RegExp(`"event":"jobs".*"by":"ops \\(dashboard\\)","click":"${click}"`),
    );
  }
  await page.context().close();
});

/** bull-board asks once more; the answer of its api is what counts. */
async function confirmed(page: Page, path: RegExp): Promise<void> {
  const answer = page.waitForResponse((response) => path.test(new URL(response.url()).pathname));
  await page.getByRole('button', { name: /^confirm$/i }).click();
  assert.ok((await answer).ok());
}

/** Its buttons are pictures without names; to remove is the last one beside the job's id. */
function trashOf(jobId: Locator): Locator {
  return jobId.locator('xpath=ancestor::*[.//button][1]').locator('button').last();
}

test('who may only look has nothing to click, at any width, in light and dark', async () => {
  for (const [width, dark] of [
    [360, true],
    [1200, false],
  ] as const) {
    const page = await browser.page(origin, { width, dark });
    await logIn(page, 'viewer', PASSWORD);
    await page.getByRole('rowheader', { name: 'foo@replica' }).waitFor();
    assert.equal(await page.getByRole('button', { name: /Pause|Replay|Skip|Resume/ }).count(), 0);
    const overflow = 'document.documentElement.scrollWidth - innerWidth';
    assert.equal(await page.evaluate(overflow), 0, `${width} wide`);
    await page.context().close();
  }
});

test('all of it came from the dashboard alone, and no policy had to stop anything', async () => {
  assert.deepEqual([...browser.hosts], [new URL(origin).host]);
  assert.deepEqual(browser.complaints, []);
  await browser.close();
});

function audit(): string {
  return readFileSync(site.path('state/audit.log'), 'utf8');
}
