import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { tryLock, unlock } from 'fs-native-extensions';
import { type ProgressStream, progress, progressLine } from '../../src/cli/progress.js';
import { Site, Writer } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { startFerry, until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { onTerminal } from '../support/terminal.js';

class Screen implements ProgressStream {
  isTTY: boolean;
  columns: number;
  text = '';

  constructor({ isTTY = true, columns = 80 }: { isTTY?: boolean; columns?: number } = {}) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  write(text: string): void {
    this.text += text;
  }
}

describe('progress of long work', () => {
  it('shows on a terminal how far the work is, in one line, and takes the line away at the end', async () => {
    const screen = new Screen();
    const shown = progress(screen, 'reading spools', { total: 400 });
    shown.at(100);
    await until('a line is drawn', () => screen.text !== '');
    assert.match(screen.text, /reading spools {2}100 of 400 \(25 %\)/);
    assert.doesNotMatch(screen.text, /\n/);
    shown.end();
    shown.end();
    assert.ok(screen.text.endsWith('\r\u001b[2K'), 'the line is erased');
  });

  it('shows that time goes by while the work only waits', async () => {
    const screen = new Screen();
    const shown = progress(screen, 'waiting for the producer');
    await until('seconds are shown', () => /waiting for the producer {2}1s/.test(screen.text));
    shown.end();
  });

  it('draws nothing for work that is over at once, and nothing where there is no terminal', async () => {
    const quick = new Screen();
    const quickWork = progress(quick, 'quick');
    quickWork.at(1, 1);
    quickWork.end();
    const pipe = new Screen({ isTTY: false });
    const piped = progress(pipe, 'reading spools', { total: 2 });
    const terminal = new Screen();
    const witness = progress(terminal, 'the same on a terminal');
    await until('a terminal would show something', () => terminal.text !== '');
    piped.at(1);
    piped.end();
    witness.end();
    assert.equal(quick.text, '');
    assert.equal(pipe.text, '');
  });

  it('never draws a line that is wider than the terminal, which would scroll it', async () => {
    const screen = new Screen({ columns: 20 });
    const shown = progress(screen, 'a label that is much longer than this terminal is wide');
    await until('a line is drawn', () => screen.text !== '');
    shown.end();
    for (const line of screen.text.split('\r')) {
      assert.ok(line.replace('\u001b[2K', '').length < 20, JSON.stringify(line));
    }
  });

  it('counts bytes in units, and does without a total', () => {
    const line = { label: 'verifying', done: 1536, total: 3 * 1024 * 1024, unit: 'bytes' as const };
    assert.equal(
      progressLine({ ...line, elapsedMs: 65_000 }),
      'verifying  1.5 KiB of 3.0 MiB (0 %)  1m 5s',
    );
    assert.equal(
      progressLine({ ...line, total: 0, unit: 'items', elapsedMs: 0 }),
      'verifying  1536',
    );
  });
});

describe('commands that take long', () => {
  it('say on a terminal that they still wait, and nothing more to a pipe', async () => {
    const redis = await startTestRedis();
    const site = await Site.make();
    await site.configure({
      redis: redis.url,
      destinations: { a: { port: 1 } },
      journals: ['name: foo, path: fifo/foo, to: a'],
    });
    redis.pause();
    const outer = onTerminal('status', site.dir);
    assert.equal((await outer.end()).code, 0);
    redis.resume();
    assert.match(outer.stdout, /reading spools and Redis( {2}\d+s)?\r/);
    const after = outer.stdout.slice(outer.stdout.lastIndexOf('reading spools'));
    assert.ok(after.includes('\r\u001b[2K'), 'the line is erased before the answer is printed');
    assert.match(after, /Redis: not reachable/);
    redis.pause();
    const piped = startFerry(['status'], { cwd: site.dir });
    await piped.end();
    redis.resume();
    assert.equal(piped.stderr, '');
    assert.match(piped.stdout, /^Redis: not reachable/);
  });

  it('show at a producer’s start how many journals were looked at, until all were', async () => {
    const site = await Site.make();
    const configure = (names: readonly string[]) =>
      site.configure({
        destinations: { a: { port: 1 } },
        journals: names.map((name) => `name: ${name}, path: fifo/${name}, to: a`),
      });
    for (const name of ['foo', 'bar']) await new Writer(site.path('fifo', name)).commit();
    // What this one leaves is looked at under the journal's lock, with or without Redis.
    await configure(['bar']);
    const env = { FERRY_CRASH_AT: 'capture.sealed' };
    const doomed = startFerry(['run'], { cwd: site.dir, env });
    assert.equal((await doomed.end()).signal, 'SIGKILL');
    await configure(['foo', 'bar']);
    // A commit that takes its time: the first look at this journal waits for it.
    const held = await open(site.path('fifo/bar'), 'r+');
    assert.ok(tryLock(held.fd));
    const outer = onTerminal('run', site.dir);
    await until(
      'it is shown',
      () => outer.stdout.includes('looking at journals  1 of 2 (50 %)'),
      60_000,
    );
    unlock(held.fd);
    await held.close();
    await until('it is erased', () => {
      const after = outer.stdout.slice(outer.stdout.lastIndexOf('looking at journals'));
      return after.includes('\r\u001b[2K');
    });
    const pid = Number(/pid=(\d+)/.exec(outer.stdout)?.[1]);
    process.kill(pid, 'SIGTERM');
    assert.equal((await outer.end()).code, 0);
  });
});

failOnLeaks();
