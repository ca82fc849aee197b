/**
 * Makes the pictures of docs/dashboard.md: a real sender with routes in every state, and a real
 * browser. `npm run screenshots`; the first argument names another directory.
 */
import { statSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { hashPassword } from '../../src/common/password.js';
import { Site, Writer } from '../e2e/site.js';
import { tidyingIsOurs } from '../support/atEnd.js';
import { freePort } from '../support/freePort.js';
import { type TestProcess, until } from '../support/process.js';
import { logIn, TestBrowser } from './browser.js';
import { Client, PASSWORD, portOf, withDashboard } from './client.js';

/** How long the writers write: what the sparklines show. */
const WRITING_MS = 75_000;
/** Larger ones make a clone slow. */
const PICTURE_BYTES_MAX = 150_000;
const OUT = resolve(process.argv[2] ?? 'docs/images');

const JOURNALS = ['accounts', 'catalog', 'customers', 'invoices', 'orders', 'stock'];

tidyingIsOurs();
const site = await Site.make();
const children: TestProcess[] = [];
try {
  await takePictures(await sender());
} finally {
  for (const child of children) await child.kill('SIGTERM').catch(() => child.kill());
  await until('the embedded Redis has ended', () => gone(site.path('state/redis/redis.sock')));
  await rm(site.dir, { recursive: true });
}

/** One route each: idle, sending, retrying, blocked, paused, orphaned. */
async function sender(): Promise<{ port: number; restart: () => Promise<number> }> {
  const { process: receiver, port } = await site.startReceiver();
  children.push(receiver);
  const dead = await freePort();
  const configure = async (journals: readonly string[]): Promise<void> => {
    const to = { replica: { port }, berlin: { port: dead }, archive: { port: await freePort() } };
    await site.configure({ destinations: to, journals });
    const scrypt = await hashPassword(PASSWORD);
    await withDashboard(site, [`name: ops, password: {scrypt: ${scrypt}}`]);
  };
  const rule = (name: string, to: string, attempts: number) =>
    `name: ${name}, path: fifo/${name}, to: [${to}], interval: 3s, attempts: ${attempts}, flush: {maxBytes: 64KiB}`;
  const journals = (orders: string) =>
    JOURNALS.map((name) =>
      name === 'invoices'
        ? rule(name, 'replica, berlin', 3)
        : rule(name, name === 'orders' ? orders : 'replica', 0),
    );
  await configure(journals('replica, berlin, archive'));
  const start = async (): Promise<number> => {
    const ferry = await site.start('run');
    children.unshift(ferry);
    return portOf(ferry);
  };
  const first = await start();
  return {
    port: first,
    async restart() {
      await children.shift()?.kill('SIGTERM');
      await configure(journals('replica, berlin'));
      return start();
    },
  };
}

async function takePictures(ferry: Awaited<ReturnType<typeof sender>>): Promise<void> {
  await mkdir(OUT, { recursive: true });
  for (const name of JOURNALS) await new Writer(site.path('fifo', name)).commit(400);
  await until('all are captured', () => JOURNALS.every((name) => size(name) === 0));
  const port = await ferry.restart();
  const client = new Client(port);
  await client.login('ops');
  await client.act('pause', { route: 'stock@replica' });
  const writing = Promise.all(JOURNALS.map((name, index) => write(name, 1 + index)));
  const browser = await TestBrowser.start();
  const origin = `http://127.0.0.1:${port}`;
  try {
    const page = await browser.page(origin, { height: 960 });
    await logIn(page, 'ops', PASSWORD);
    await writing;
    await page.locator('.state.blocked').waitFor();
    await page.getByLabel(/^Skip batch .* of invoices@berlin/).click();
    await page.getByLabel(/^Give up batch/).fill('torn by a full disk');
    await picture(page, 'routes');
    const dark = await browser.page(origin, { width: 420, height: 900, dark: true });
    await logIn(dark, 'ops', PASSWORD);
    await dark.locator('.state.blocked').waitFor();
    await picture(dark, 'narrow-dark');
    await page.setViewportSize({ width: 1200, height: 640 });
    await page.goto('/queues/queue/batches?status=delayed');
    await page
      .getByText(/^\w+@berlin~/)
      .first()
      .waitFor();
    await picture(page, 'queues');
  } finally {
    await browser.close();
  }
}

/** Commits of a size that goes up and down, for something to look at. */
async function write(name: string, pace: number): Promise<void> {
  const writer = new Writer(site.path('fifo', name));
  const end = performance.now() + WRITING_MS;
  while (performance.now() < end) {
    const wave = 1 + Math.sin((performance.now() / 1000 + pace * 7) / (4 + pace));
    await writer.commit(500 + Math.round(wave * 4_000 * pace));
    await sleep(300 * pace);
  }
}

async function picture(page: Page, name: string): Promise<void> {
  const file = resolve(OUT, `${name}.png`);
  await page.screenshot({ path: file, animations: 'disabled' });
  const { length } = await readFile(file);
  if (length > PICTURE_BYTES_MAX) throw new Error(`${file} has ${length} bytes`);
  process.stdout.write(`${file}: ${length} bytes\n`);
}

function size(journal: string): number {
  return statSync(site.path('fifo', journal)).size;
}

function gone(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) === undefined;
}
