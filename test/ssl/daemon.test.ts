/** Daemons of `ferry ssl` as their users have them, each beside others, with the real peers. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { announceBlob } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { freePort, Replica, sameFiles, Writer } from '../support/picolisp.js';
import { FERRY_SSL, gone, isAlive, killPid, runFerry, start, until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { tempDir } from '../support/tempDir.js';
import { type CaptureServer, replies, tlsServer } from './captureServer.js';
import { journal, KEY, URL } from './cases.js';
import { commandLine, environment, sessionOf, User } from './daemons.js';

const ARRIVAL_MS = 60_000;

const replica = await Replica.start();
const database = await Writer.start();
const redis = await startTestRedis();
const sink = await tlsServer(replies());

after(async () => {
  await database.stop();
  await replica.stop();
  await sink.stop();
});
failOnLeaks();

/** A user with empty journals of these names. */
function userWith(journals: readonly string[], env: Record<string, string> = {}): User {
  const user = new User(env);
  writeFileSync(user.path('key'), KEY);
  for (const name of journals) {
    writeFileSync(user.path(name), '');
    mkdirSync(user.path(`blob/${name}`), { recursive: true });
  }
  return user;
}

/** The words of one daemon; `0` as minutes: it prints its pid. */
function words(name: string, { port = sink.port, key = 'key', min = '0' } = {}): string[] {
  return ['localhost', String(port), URL, key, name, `blob/${name}/`, '1', min];
}

function arrived(server: CaptureServer, data: string, key = KEY): boolean {
  const expected = journal(data, key).replace('PORT', String(server.port));
  return server.received().some((bytes) => bytes.toString('latin1') === expected);
}

describe('with a PicoLisp database, the real httpGate and the real replica.l', () => {
  test('both databases end equal byte for byte, and the blobs, with a SIGKILL in between', async () => {
    const user = new User();
    writeFileSync(user.path('key'), replica.key);
    const blobs = user.path('blob/');
    mkdirSync(blobs);
    const daemonWords = [
      ...['localhost', String(replica.gatePort), `${replica.port}/!replica`, 'key'],
      ...[database.journal, 'blob/', '1', '0'],
    ];
    let pid = await user.daemon(daemonWords);
    const images = new Map<string, Buffer>();
    for (let round = 0; round < 12; round += 1) {
      await database.commit(round === 6 ? 3_000 : 5, 1_000);
      if (round % 3 === 0) {
        const image = randomBytes(40_000 + round);
        images.set(`x/${round}.img`, image);
        await announceBlob(blobs, `=${round}.img`, `x/${round}.img`, image);
      }
      if (round === 5) {
        // Not in the middle of a request: a client that vanishes there can hang the real replica
        // for good. Such moments are tried with a receiver of ours, and in long runs.
        await until('all is sent', async () => (await user.onlyRoute()).state === 'idle');
        await killPid(pid, 'SIGKILL');
        await database.commit(5, 1_000);
        // As cron would: the same words once more.
        pid = await user.daemon(daemonWords);
      }
    }
    await until('the databases are equal', () => sameFiles(database.db, replica.db), ARRIVAL_MS);
    for (const [path, image] of images) {
      const link = join(blobs, `=${path.slice(2)}`);
      await until(
        `${link} is gone`,
        () => lstatSync(link, { throwIfNoEntry: false }) === undefined,
        ARRIVAL_MS,
      );
      assert.ok(readFileSync(join(replica.blobs, path)).equals(image), path);
    }
    await until('the route is idle', async () => (await user.onlyRoute()).state === 'idle');
    assert.equal(statSync(database.journal).size, 0);
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });

  test('a GET through the gate prints the refusal of the replica', async () => {
    const user = new User();
    const { code, stdout } = await user.run([
      ...['localhost', String(replica.gatePort), `${replica.port}/none`],
    ]);
    assert.equal(code, 0);
    assert.match(stdout, /^HTTP\/1\.0 404 Not Found\r\n/);
    assert.match(stdout, /<\/HTML>\s*$/);
  });
});

describe('many daemons of one user', () => {
  test('share one Redis, are all in the status, and the last to leave ends it', async () => {
    const names = ['one', 'two', 'three', 'four', 'five'];
    const user = userWith(names);
    const pids = await Promise.all(names.map((name) => user.daemon(words(name))));
    assert.equal(new Set(pids).size, names.length);
    for (const name of names) appendFileSync(user.path(name), `data of ${name}`);
    for (const name of names) {
      await until(`${name} arrived`, () => arrived(sink, `data of ${name}`), ARRIVAL_MS);
    }
    assert.equal(user.redisPids().length, 1);
    await until('all are idle', async () => {
      const { routes } = await user.status();
      return routes.length === names.length && routes.every(({ state }) => state === 'idle');
    });
    const { redis: shown, routes } = await user.statusCommand();
    assert.equal(shown.ok, true);
    for (const name of names) {
      const route = routes.find((one) => one.journal.includes(name));
      assert.equal(route?.deliveredBytes, `data of ${name}`.length, name);
    }
    const [last = 0, ...first] = pids;
    for (const pid of first) {
      await killPid(pid, 'SIGTERM');
      assert.equal(user.redisPids().length, 1);
    }
    appendFileSync(user.path('one'), 'the last one');
    await until('it still serves', () => arrived(sink, 'the last one'), ARRIVAL_MS);
    await killPid(last, 'SIGTERM');
    await user.redisEnded();
  });

  test('one that is started again is the one that runs: exit code 0, the same pid', async () => {
    const user = userWith(['journal']);
    const pid = await user.daemon(words('journal'));
    assert.equal(await user.daemon(words('journal')), pid);
    const silent = await user.run(words('journal', { min: '' }));
    assert.deepEqual([silent.code, silent.stdout], [0, '']);
    assert.deepEqual(user.daemonPids(), [pid]);
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });

  test('five that are started at once leave one', async () => {
    const user = userWith(['journal']);
    const pids = await Promise.all([1, 2, 3, 4, 5].map(() => user.daemon(words('journal'))));
    assert.equal(new Set(pids).size, 1, String(pids));
    await until('one is left', () => user.daemonPids().length === 1);
    assert.deepEqual(user.daemonPids(), [pids[0]]);
    appendFileSync(user.path('journal'), 'five at once');
    await until('it serves', () => arrived(sink, 'five at once'), ARRIVAL_MS);
    assert.equal(sink.received().filter((bytes) => bytes.includes('five at once')).length, 1);
    await killPid(pids[0] ?? 0, 'SIGTERM');
    await user.redisEnded();
  });

  test('a journal that one ships is not shipped elsewhere by another: exit code 1 and what to do', async () => {
    const user = userWith(['journal']);
    const pid = await user.daemon(words('journal'));
    const other = await user.run([
      ...['localhost', String(sink.port), 'other.r/!replica', 'key', 'journal', '', '1', '0'],
    ]);
    assert.equal(other.code, 1);
    assert.equal(other.stdout, '');
    assert.match(other.stderr, /journal/);
    assert.match(other.stderr, /hint: ./);
    assert.ok(isAlive(pid));
    assert.deepEqual(user.daemonPids(), [pid]);
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });
});

describe('one daemon', () => {
  test('started again for another host, it sends there what waits, and waits for nobody else', async () => {
    const user = userWith(['foo']);
    mkdirSync(user.path('copies'));
    const nobody = String(await freePort());
    const before = await user.daemon([
      ...['localhost', nobody, URL, 'key', 'foo', '', '1', '0', 'copies/'],
    ]);
    writeFileSync(user.path('foo'), 'for whoever is there');
    await until('the journal is captured and copied', () => {
      return statSync(user.path('foo')).size === 0 && existsSync(user.path('copies/1'));
    });
    await killPid(before, 'SIGTERM');
    const pid = await user.daemon([
      ...['127.0.0.1', `-${sink.port}`, URL, 'key', 'foo', '', '1', '0'],
    ]);
    await until(
      'it has arrived',
      () => {
        return sink.received().some((bytes) => bytes.includes('20\nfor whoever is thereT'));
      },
      ARRIVAL_MS,
    );
    await until(
      'nothing waits any more',
      async () => {
        const { routes } = await user.status();
        return routes.every(
          ({ state, pendingBatches }) => state === 'idle' && pendingBatches === 0,
        );
      },
      ARRIVAL_MS,
    );
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });

  test('leaves the session and the output of who started it', async () => {
    const user = userWith(['journal']);
    const line = words('journal').join(' ');
    // A command substitution waits until nobody holds its pipe any more.
    const shell = start('sh', ['-c', `pid=$("$NODE" "$PROGRAM" ${line}); echo "it is $pid"`], {
      cwd: user.home,
      env: { ...user.env, NODE: process.execPath, PROGRAM: FERRY_SSL },
    });
    const said = await shell.line(/^it is \d+$/);
    await shell.end();
    const pid = Number(said.slice('it is '.length));
    assert.ok(isAlive(pid));
    assert.equal(sessionOf(pid), pid);
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });

  test('shows its words in the list of processes, however long they are', async () => {
    const name = `journal-${'x'.repeat(180)}`;
    const user = userWith([name]);
    const pid = await user.daemon(words(name));
    assert.equal(commandLine(pid), `ferry-ssl ${words(name).join(' ')}`);
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });

  test('uses the Redis that REDIS_URL names and starts none', async () => {
    const user = userWith(['journal'], { REDIS_URL: redis.url });
    const pid = await user.daemon(words('journal'));
    appendFileSync(user.path('journal'), 'through another Redis');
    await until('it arrived', () => arrived(sink, 'through another Redis'), ARRIVAL_MS);
    assert.deepEqual(user.redisPids(), []);
    assert.notEqual(await redis.command('DBSIZE'), '0');
    await until('it is idle', async () => (await user.onlyRoute()).state === 'idle');
    assert.equal((await user.onlyRoute()).deliveredBytes, 'through another Redis'.length);
    await killPid(pid, 'SIGTERM');
    await gone(pid);
    await user.redisEnded();
  });

  test('keeps its state to its user', async () => {
    const user = userWith(['journal']);
    const pid = await user.daemon(words('journal'));
    appendFileSync(user.path('journal'), 'private');
    await until('it arrived', () => arrived(sink, 'private'), ARRIVAL_MS);
    const files = user.stateFiles();
    assert.ok(files.length > 5, files.join('\n'));
    for (const file of files) {
      const { mode } = lstatSync(file);
      if (lstatSync(file).isSymbolicLink()) continue; // has no mode of its own
      assert.equal(mode & 0o077, 0, `${file} has mode ${(mode & 0o777).toString(8)}`);
    }
    await killPid(pid, 'SIGTERM');
    await user.redisEnded();
  });

  test('lets nobody see a key that is written out, also while it is refused', async () => {
    const secret = 'x7Qk-2-very-secret-9';
    const user = userWith(['journal']);
    const strict = await tlsServer(
      replies((_request, index) =>
        index === 0 ? '' : index === 1 ? 'HTTP/1.0 403 No\r\n\r\n' : 'T',
      ),
    );
    try {
      const line = words('journal', { port: strict.port, key: `-${secret}\n` });
      const pid = await user.daemon(line);
      appendFileSync(user.path('journal'), 'with a secret');
      await until('it arrived', () => strict.ends.length > 2, ARRIVAL_MS);
      assert.ok(arrived(strict, 'with a secret', `${secret}\n`));
      const status = await runFerry(['status', '--json'], { cwd: tempDir(), env: user.env });
      assert.ok(!status.stdout.includes(secret));
      // While it runs, and what it leaves: spool, logs, Redis's append-only file.
      for (const one of user.allPids()) {
        assert.ok(!commandLine(one).includes(secret), commandLine(one));
        assert.ok(!environment(one).includes(secret), commandLine(one));
      }
      assert.match(commandLine(pid), /^ferry-ssl localhost \d+ \S+ -\S* journal /);
      await killPid(pid, 'SIGTERM');
      await user.redisEnded();
      for (const file of user.stateFiles()) {
        if (!lstatSync(file).isFile()) continue;
        assert.ok(!readFileSync(file, 'latin1').includes(secret), `the key is in ${file}`);
      }
    } finally {
      await strict.stop();
    }
  });
});

describe('ferry ssl --explain', () => {
  test('prints a ferry.yaml that does the same, and names the idle timeout', async () => {
    const user = userWith(['journal']);
    const { code, stdout, stderr } = await user.run([
      '--explain',
      ...words('journal', { min: '60' }),
      'copies/',
    ]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /--idle-exit 60m/);
    writeFileSync(user.path('ferry.yaml'), stdout);
    const check = await runFerry(['config', 'check'], { cwd: user.home, env: user.env });
    assert.equal(check.code, 0, check.stderr);
  });
});
