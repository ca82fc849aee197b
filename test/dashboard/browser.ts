import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { type Browser, type BrowserServer, chromium, type Page } from 'playwright-core';
import { atEnd } from '../support/atEnd.js';
import { gone } from '../support/process.js';

/** What a test may wait for in a page, on a busy machine of two cores. */
const PATIENCE_MS = 20_000;

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Debian's Chromium, which the set-up has installed; `FERRY_TEST_CHROMIUM` names another. */
const PROGRAM = process.env['FERRY_TEST_CHROMIUM'] ?? '/usr/bin/chromium';

/** One browser of a test file; it ends with it, and leaves no process. */
export class TestBrowser {
  /** What went wrong in any page: errors of scripts, and what its policy has stopped. */
  readonly complaints: string[] = [];
  /** Hosts that a page asked for anything. */
  readonly hosts = new Set<string>();

  private constructor(
    private readonly server: BrowserServer,
    private readonly browser: Browser,
  ) {}

  static async start(): Promise<TestBrowser> {
    assert.ok(existsSync(PROGRAM), `there is no browser ${PROGRAM}: apt-get install chromium`);
    const server = await chromium.launchServer({ executablePath: PROGRAM, args: FLAGS });
    const { pid } = server.process();
    assert.ok(pid !== undefined);
    atEnd(async () => {
      await server.close();
      await gone(pid);
    });
    return new TestBrowser(server, await chromium.connect(server.wsEndpoint()));
  }

  /** A page with cookies of its own. */
  async page(
    origin: string,
    options: { width?: number; height?: number; dark?: boolean } = {},
  ): Promise<Page> {
    const { width = 1200, height = 800, dark = false } = options;
    const context = await this.browser.newContext({
      baseURL: origin,
      viewport: { width, height },
      colorScheme: dark ? 'dark' : 'light',
      reducedMotion: 'reduce',
    });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      // An answer of 4xx is said there, too; tests look at it themselves.
      const isAnswer = message.text().startsWith('Failed to load resource');
      if (message.type() === 'error' && !isAnswer) this.complaints.push(message.text());
    });
    page.on('request', (request) => {
      const { protocol, host } = new URL(request.url());
      if (protocol !== 'data:') this.hosts.add(host);
    });
    return page;
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.server.close();
  }
}

/** Logs in as a person does: with the keyboard. */
export async function logIn(page: Page, name: string, password: string): Promise<void> {
  await page.goto('/');
  await page.locator('input[name="name"]:focus').waitFor();
  await page.keyboard.type(name);
  await page.keyboard.press('Tab');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
}
