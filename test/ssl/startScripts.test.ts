/**
 * The two usual ways to start `bin/ssl`, with one word changed. Each script runs with the real
 * program and with ours: what changes nothing for the script must change nothing for its user.
 */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { failOnLeaks } from '../support/leaks.js';
import { BIN_SSL, requirePicolisp } from '../support/picolisp.js';
import { FERRY_SSL, killPid, start, type TestProcess, until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import { type CaptureServer, replies, tlsServer } from './captureServer.js';
import { inotifyWatches, parentOf, pidsOf, User } from './daemons.js';

requirePicolisp();
/** `dist/test/ssl` lies three levels below the package. */
const SCRIPTS = fileURLToPath(new URL('../../../examples/start-scripts/', import.meta.url));
const ARRIVAL_MS = 60_000;

const servers: CaptureServer[] = [];
after(async () => {
  for (const server of servers) await server.stop();
});
failOnLeaks();

/** A home in which one of the scripts is run. */
class Home extends User {
  readonly #scripts: TestProcess[] = [];

  private constructor(
    readonly ssl: string,
    readonly server: CaptureServer,
  ) {
    super();
    mkdirSync(this.path('key'));
    writeFileSync(this.path('key/server'), 'the key\n');
    mkdirSync(this.path('fifo'));
  }

  static async make(ssl: string): Promise<Home> {
    const server = await tlsServer(replies());
    servers.push(server);
    return new Home(ssl, server);
  }

  journal(name: string): string {
    mkdirSync(this.path('blob', name), { recursive: true });
    return this.path('fifo', name);
  }

  script(name: string, env: Record<string, string> = {}): TestProcess {
    const child = start(join(SCRIPTS, name), [], {
      cwd: this.home,
      env: { ...this.env, ...env, ...this.variables() },
    });
    this.#scripts.push(child);
    return child;
  }

  private variables(): Record<string, string> {
    // As `npm install -g` puts it on the PATH.
    const bin = tempDir();
    symlinkSync(FERRY_SSL, join(bin, 'ferry-ssl'));
    return {
      PATH: [bin, process.env['PATH']].join(delimiter),
      SSL: this.ssl,
      HOST: 'localhost',
      PORT: String(this.server.port),
      INTERVAL: '1',
    };
  }

  /** The daemons for a journal, as pgrep in the scripts finds them. */
  pids(name: string): number[] {
    return pidsOf(`ssl localhost ${this.server.port} ${name}/!replica `);
  }

  async arrived(data: string): Promise<void> {
    const found = () => this.server.received().some((bytes) => bytes.includes(`\n${data}T`));
    await until(`${data} arrived`, found, ARRIVAL_MS);
  }

  async end(names: readonly string[]): Promise<void> {
    for (const name of names) for (const pid of this.pids(name)) await killPid(pid, 'SIGTERM');
    for (const script of this.#scripts) await script.end();
    await this.redisEnded();
  }
}

for (const [what, ssl] of [
  ['bin/ssl', BIN_SSL],
  ['ferry-ssl', 'ferry-ssl'],
] as const) {
  describe(`with ${what}`, () => {
    test('a daemon per database, started by cron again and again: one each', async () => {
      const home = await Home.make(ssl);
      const names = ['customers', 'orders'];
      for (const name of names) writeFileSync(home.journal(name), `${name} 1`);
      const cron = () => home.script('each-database.sh', { DATABASES: names.join(' ') });
      assert.equal((await cron().exited).code, 0);
      for (const name of names) await home.arrived(`${name} 1`);
      const first = names.map((name) => home.pids(name));
      assert.deepEqual(
        first.map((pids) => pids.length),
        [1, 1],
      );
      assert.equal((await cron().exited).code, 0);
      assert.deepEqual(
        names.map((name) => home.pids(name)),
        first,
      );

      // One has died: the next minute brings it back, and what was written meanwhile goes.
      await killPid(first[0]?.[0] ?? 0, 'SIGKILL');
      appendFileSync(home.journal('customers'), 'customers 2');
      assert.equal((await cron().exited).code, 0);
      await home.arrived('customers 2');
      assert.deepEqual(home.pids('orders'), first[1]);
      assert.equal(home.pids('customers').length, 1);
      await home.end(names);
    });

    test('a daemon per journal, started when it is written', async () => {
      const home = await Home.make(ssl);
      writeFileSync(home.journal('early'), 'early 1');
      home.journal('late');
      const watching = home.script('journal-directory.sh');
      await home.arrived('early 1');
      const watcher = () =>
        pidsOf('inotifywait ').find((pid) => parentOf(pid) === watching.pid) ?? 0;
      await until('the directory is watched', () => inotifyWatches(watcher()) > 0);
      assert.deepEqual(home.pids('late'), []);
      for (const part of ['late 1', 'late 2', 'late 3']) {
        appendFileSync(home.journal('late'), part);
        await home.arrived(part);
      }
      assert.equal(home.pids('late').length, 1);

      // It ends, as it does after an hour without work; the next commit starts another.
      const [pid = 0] = home.pids('late');
      await killPid(pid, 'SIGTERM');
      appendFileSync(home.journal('late'), 'late 4');
      await home.arrived('late 4');
      assert.equal(home.pids('late').length, 1);
      assert.notEqual(home.pids('late')[0], pid);
      assert.equal(readFileSync(home.journal('late')).length, 0);

      await killPid(watcher(), 'SIGTERM');
      await home.end(['early', 'late']);
    });
  });
}
