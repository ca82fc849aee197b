import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { readlinkSync } from 'node:fs';
import { describe, it } from 'node:test';
import { cut, Screen, type Terminal } from '../../src/cli/screen.js';
import { Site, Writer } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { FERRY, start, startFerry, type TestProcess, until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { onTerminal } from '../support/terminal.js';

const redis = await startTestRedis();
failOnLeaks();

/** A sender's directory that nothing runs in: enough to be looked at. */
async function quietSite(): Promise<Site> {
  const site = await Site.make();
  await site.configure({
    redis: redis.url,
    destinations: { a: { port: 1 } },
    journals: ['foo', 'bar', 'baz'].map((name) => `name: ${name}, path: fifo/${name}, to: a`),
  });
  return site;
}

/** The terminal too, to change its size. */
async function onWatched(
  site: Site,
  args: string,
  size: { rows: number; columns: number },
): Promise<{ outer: TestProcess; pid: number; terminal: string }> {
  const outer = onTerminal(args, site.dir, size);
  const pid = Number(/pid=(\d+)/.exec(await outer.line(/pid=\d+/))?.[1]);
  return { outer, pid, terminal: readlinkSync(`/proc/${pid}/fd/1`) };
}

const ENTERED = '\u001b[?1049h';
const LEFT = '\u001b[?25h\u001b[?1049l';

describe('ferry status --watch', () => {
  it('redraws a terminal, follows its size, and leaves it as it was on q with exit code 0', async () => {
    const site = await quietSite();
    const size = { rows: 20, columns: 100 };
    const { outer, terminal } = await onWatched(site, 'status --watch 100ms', size);
    await until('it is drawn twice', () => outer.stdout.split('(q ends)').length > 2);
    assert.ok(outer.stdout.includes(ENTERED));
    assert.match(outer.stdout, /foo@a .*idle/);
    assert.ok(!outer.stdout.includes('more lines'));
    assert.ok(!outer.stdout.includes('\u001b[2J'), 'it never erases what it then draws again');
    const resize = start('stty', ['-F', terminal, 'rows', '5', 'cols', '20']);
    assert.equal((await resize.end()).code, 0);
    await until('it is cut to the new size', () => /\.\.\. 4 more lines/.test(outer.stdout));
    outer.stdin.write('q');
    assert.deepEqual(await outer.end(), { code: 0, signal: null });
    assert.ok(outer.stdout.trimEnd().endsWith(LEFT));
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`ends cleanly on ${signal}, on a terminal and on a pipe`, async () => {
      const site = await quietSite();
      const size = { rows: 20, columns: 100 };
      const { outer, pid } = await onWatched(site, 'status --watch', size);
      await until('it is drawn', () => outer.stdout.includes('foo@a'));
      process.kill(pid, signal);
      assert.deepEqual(await outer.end(), { code: 0, signal: null });
      assert.ok(outer.stdout.trimEnd().endsWith(LEFT));
      const piped = startFerry(['status', '--watch', '1h'], { cwd: site.dir });
      await piped.line(/foo@a/);
      assert.deepEqual(await piped.kill(signal), { code: 0, signal: null });
      assert.equal(piped.stderr, '');
    });
  }

  it('prints a block per interval to a pipe, and ends when nobody reads any more', async () => {
    const site = await quietSite();
    const command = `"$0" "$1" status --watch 100ms | sed '/BATCHES.S/{x;s/^/x/;/x\\{3\\}/q;x;}'`;
    const piped = start('sh', ['-c', command, process.execPath, FERRY], { cwd: site.dir });
    assert.equal((await piped.end()).code, 0);
    const times = piped.stdout.match(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/gm) ?? [];
    assert.ok(times.length >= 3, piped.stdout);
    assert.match(piped.stdout, /^Redis: ok, durability always$/m);
    assert.match(piped.stdout, /^foo@a .* - +-$/m, 'no rates at the first look');
    assert.match(piped.stdout, /^foo@a .* 0\.0 +0 B$/m);
    assert.ok(!piped.stdout.includes('\u001b'));
  });

  it('says rates in JSON, one line per interval, and heals when Redis goes and comes', async () => {
    const site = await Site.make();
    const { port } = await site.startReceiver();
    await site.configure({
      redis: redis.url,
      destinations: { replica: { port } },
      journals: ['name: foo, path: fifo/foo, to: replica, interval: 300ms'],
    });
    const ferry = await site.start('run');
    const watching = startFerry(['status', '--json', '--watch', '100ms'], { cwd: site.dir });
    await watching.line(/"batchesPerSecond":(null|0)\b/);
    const writer = new Writer(site.path('fifo/foo'));
    await writer.commit(5_000);
    const line = await watching.line(/"batchesPerSecond":(?!null)(?!0[,}])/, 30_000);
    const look = JSON.parse(line) as {
      version: number;
      at: string;
      routes: { batchesPerSecond: number; bytesPerSecond: number; deliveredBatches: number }[];
    };
    assert.equal(look.version, 1);
    assert.ok(!Number.isNaN(Date.parse(look.at)));
    const [route] = look.routes;
    assert.ok(route !== undefined && route.deliveredBatches === 1);
    // Both are rounded, to a tenth.
    const bytesPerBatch = route.bytesPerSecond / route.batchesPerSecond;
    assert.ok(bytesPerBatch > 2_500 && bytesPerBatch < 10_000, String(bytesPerBatch));
    await ferry.kill('SIGTERM');
    await redis.stop();
    await watching.line(/"redis":\{"ok":false/);
    const before = watching.stdout.length;
    await redis.start();
    await until('it sees Redis again', () =>
      watching.stdout.slice(before).includes('"redis":{"ok":true'),
    );
    assert.deepEqual(await watching.kill('SIGINT'), { code: 0, signal: null });
    for (const text of watching.stdout.trimEnd().split('\n')) JSON.parse(text);
  });

  it('says what is wrong with an interval or a configuration, and watches nothing', async () => {
    const site = await quietSite();
    const wrong = startFerry(['status', '--watch', '5'], { cwd: site.dir });
    assert.equal((await wrong.end()).code, 2);
    assert.match(wrong.stderr, /Expected a duration such as 500ms, 2s/);
    const missing = startFerry(['status', '--watch', '-c', 'gone.yaml'], {
      cwd: site.dir,
      env: { FERRY_STATE: site.path('none') },
    });
    assert.equal((await missing.end()).code, 2);
    assert.match(missing.stderr, /there is no configuration file gone.yaml/);
  });
});

describe('the screen of a watching command', () => {
  it('draws each look in one write over the one before, and erases what the longer one left', () => {
    const writes: string[] = [];
    class Fake extends EventEmitter implements Terminal {
      columns = 11;
      rows = 3;
      write(text: string): void {
        writes.push(text);
      }
    }
    const terminal = new Fake();
    const screen = new Screen(terminal);
    screen.show('one\ntwo\nthree\nfour\n');
    screen.show('1234567890abc\n');
    assert.equal(writes.length, 3);
    const shown = (text: string | undefined) => text?.replaceAll('\u001b[', '<');
    assert.equal(shown(writes[1]), '<Hone<K\r\ntwo<K\r\n... 2 more<K<J');
    assert.equal(shown(writes[2]), '<H1234567890<K<J');
    terminal.columns = 5;
    terminal.emit('resize');
    assert.equal(shown(writes[3]), '<H1234<K<J');
    screen.end();
    terminal.emit('resize');
    assert.equal(writes.length, 5, 'after the end nothing is drawn');
  });

  it('cuts what is seen and keeps colour codes whole', () => {
    assert.equal(cut('\u001b[31mabc\u001b[39mdef', 4), '\u001b[31mabc\u001b[39md\u001b[0m');
    assert.equal(cut('añ€𝄞x', 4), 'añ€𝄞');
  });
});
