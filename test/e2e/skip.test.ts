import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import type { CrashPoint } from '../../src/common/crashPoints.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, type TestProcess, until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { Site, Writer } from './site.js';

failOnLeaks();

const BATCHES = 2;
/** More than lies inside the spool's log: a file of its own. */
const LARGE_BYTES = 300_000;

const skipWords = (...words: string[]): string[] => ['skip', ...words, '--reason', 'torn'];

/** A route that is blocked at its first batch, with two behind it. */
class BlockedSite {
  readonly port: number;
  readonly site: Site;
  readonly batches: Buffer[] = [];
  readonly writer: Writer;

  private constructor(
    site: Site,
    port: number,
    private readonly redis: string,
  ) {
    this.site = site;
    this.port = port;
    this.writer = new Writer(site.path('fifo/foo'));
  }

  /** @param env of the producer that runs when this returns; null: none runs then */
  static async make(
    env: Record<string, string> | null = {},
    firstBytes = 200,
    redis = 'embedded',
  ): Promise<{ blocked: BlockedSite; ferry: TestProcess }> {
    const blocked = new BlockedSite(await Site.make(), await freePort(), redis);
    const { site, writer } = blocked;
    await blocked.configure(['replica']);
    const ferry = await site.start('run', { env: env ?? {} });
    for (let n = 1; n <= BATCHES; n += 1) {
      const before = writer.written.length;
      await writer.commit(n === 1 ? firstBytes : 200);
      await until('it is captured', () => statSync(writer.path).size === 0);
      blocked.batches.push(writer.written.subarray(before));
      if (n === 1) await ferry.line(/the route is blocked/);
    }
    // It comes back, which changes nothing for what is blocked.
    await site.startReceiver(blocked.port);
    if (env === null) await ferry.kill('SIGTERM');
    return { blocked, ferry };
  }

  /** Each commit is a batch. */
  async configure(to: readonly string[], subdir = '.'): Promise<void> {
    const { port, redis } = this;
    const options = {
      redis,
      destinations: { replica: { port }, backup: { port, url: 'b/{journal}' } },
      journals: [
        `name: foo, path: fifo/foo, to: [${to}], interval: 100ms, attempts: 1, flush: {maxBytes: 1}`,
      ],
    };
    await this.site.configure(options, subdir);
  }

  skip(...words: string[]): ReturnType<typeof runFerry> {
    return runFerry(skipWords(...words), { cwd: this.site.dir });
  }

  get audit(): Record<string, unknown>[] {
    const path = this.site.path('state/audit.log');
    const text = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
    const entries = text === '' ? [] : text.split('\n').map((line) => JSON.parse(line));
    return entries.filter(({ event }) => event === 'skip');
  }

  kept(): Buffer {
    return readFileSync(this.site.path('state/archive/foo/0000000001.batch'));
  }

  /** All but the first batch arrives. */
  async delivers(): Promise<void> {
    const { site, writer } = this;
    await writer.commit();
    await site.arrived('foo', writer.written.subarray(this.batches[0]?.length));
  }

  /** The first batch is given up, once, and everybody knows it. */
  async isGivenUp(): Promise<void> {
    await this.delivers();
    await until('it is in the audit log', () => this.audit.length > 0);
    const [entry] = this.audit;
    const bytes = this.batches[0]?.length;
    const detail = entry?.['detail'] as Record<string, unknown>;
    assert.deepEqual(
      [entry?.['route'], detail['from'], detail['to'], detail['bytes'], detail['reason']],
      ['foo@replica', 1, 1, bytes, 'torn'],
    );
    assert.deepEqual(this.kept(), this.batches[0]);
  }

  route(): ReturnType<Site['route']> {
    return this.site.route('foo@replica');
  }
}

describe('ferry skip far from the spool', () => {
  it('is carried out by the producer, and withdrawn where none comes', async () => {
    const redis = await startTestRedis();
    const { blocked, ferry } = await BlockedSite.make({}, 200, redis.url);
    const { site } = blocked;
    await blocked.configure(['replica'], 'far');
    const far = (...words: string[]): ReturnType<typeof runFerry> =>
      runFerry(skipWords(...words), { cwd: site.path('far') });
    const refused = await far('foo', '2');
    assert.deepEqual([refused.code, /blocked at batch 1/.test(refused.stderr)], [1, true]);
    const { code, stdout } = await far('foo', '1');
    assert.equal(code, 0);
    assert.match(stdout, /batch 1 .* given up, kept as /);
    await blocked.isGivenUp();
    await ferry.kill('SIGKILL');
    const nobody = await far('foo', '2');
    assert.deepEqual([nobody.code, /no producer has taken it over/.test(nobody.stderr)], [1, true]);
    assert.equal(await redis.command('EXISTS', '{ferry}:asks'), '0', 'nor does one later');
  });
});

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);

describe('ferry skip', () => {
  it('gives a blocked batch up, keeps its bytes, and the next goes out behind what was confirmed', async () => {
    const { blocked } = await BlockedSite.make();
    const { code, stdout, stderr } = await blocked.skip('foo', '1');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(
      stdout,
      /^foo@replica: batch 1 \(\d+ bytes\) given up, kept as .*0000000001.batch\n$/,
    );
    await blocked.isGivenUp();
    assert.equal(blocked.audit.length, 1);
    await until('it is idle', async () => (await blocked.route()).state === 'idle');
    const { deliveredBatches, pendingBytes, skippedBatches } = await blocked.route();
    assert.deepEqual([deliveredBatches, pendingBytes, skippedBatches], [BATCHES, 0, 1]);
    const again = await blocked.skip('foo', '1');
    assert.deepEqual([again.code, /given up before/.test(again.stderr)], [1, true]);
    const delivered = await blocked.skip('foo', '2');
    assert.deepEqual([delivered.code, /delivered already/.test(delivered.stderr)], [1, true]);
  });

  it('works while no producer runs, and Redis neither; a large batch is not copied', async () => {
    const { blocked } = await BlockedSite.make(null, LARGE_BYTES);
    const { site } = blocked;
    const { ino } = statSync(site.path('state/spool/foo/0000000001.batch'));
    const { code, stderr } = await blocked.skip('foo@replica', '1');
    assert.deepEqual([code, stderr], [0, '']);
    const kept = site.path('state/archive/foo/0000000001.batch');
    assert.deepEqual([statSync(kept).ino, mode(kept), mode(dirname(kept))], [ino, '600', '700']);
    await site.start('run');
    await blocked.isGivenUp();
    assert.equal(blocked.audit.length, 1);
  });

  it('gives nothing up but the batch that a route is blocked at, and says why not', async () => {
    const { blocked } = await BlockedSite.make();
    const { site } = blocked;
    const refused = async (words: string[], code: number, message: RegExp): Promise<void> => {
      const result = await runFerry(words, { cwd: site.dir });
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, message);
      assert.match(result.stderr, /hint: |--help/);
    };
    await refused(skipWords('foo', '2'), 1, /blocked at batch 1, not at 2/);
    await refused(skipWords('bar', '1'), 2, /no route is named bar/);
    await refused(skipWords('foo', 'one'), 2, /number of a batch/);
    await refused(skipWords('foo'), 2, /which batch/);
    await refused(skipWords('foo', '1', '--all'), 2, /both SEQ and --all/);
    await refused(skipWords('foo', '--all'), 1, /is in the configuration/);
    await refused(['skip', 'foo', '1'], 2, /there is no reason/);
    assert.equal((await blocked.route()).head, 1);
    assert.equal(blocked.audit.length, 0);
    await runFerry(['replay', 'foo'], { cwd: site.dir });
    await site.arrived('foo', blocked.writer.written);
    await until('it is idle', async () => (await blocked.route()).state === 'idle');
    await refused(skipWords('foo', '2'), 1, /delivered already/);
    await refused(skipWords('foo', '3'), 1, /not blocked/);
  });

  it('asks for one route where a name fits several', async () => {
    const { blocked, ferry } = await BlockedSite.make();
    await ferry.kill('SIGTERM');
    await blocked.configure(['replica', 'backup']);
    await blocked.site.start('run');
    await until('both are known', async () => (await blocked.site.status()).routes.length === 2);
    const several = await blocked.skip('foo', '1');
    assert.equal(several.code, 2);
    assert.match(several.stderr, /foo@backup, foo@replica/);
    const glob = await blocked.skip('foo@*', '1');
    assert.equal(glob.code, 2);
    assert.match(glob.stderr, /one route at a time/);
  });

  for (const running of [true, false]) {
    it(`drops an orphaned route while ${running ? 'its producer' : 'no producer'} runs: its batches leave the spool`, async () => {
      const { blocked, ferry } = await BlockedSite.make({}, LARGE_BYTES);
      const { site } = blocked;
      await ferry.kill('SIGTERM');
      await blocked.configure(['backup']);
      const second = await site.start('run');
      const orphaned = async () => (await blocked.route()).state === 'orphaned';
      await until('it is orphaned', orphaned);
      if (!running) await second.kill('SIGTERM');
      const one = await blocked.skip('foo@replica', '1');
      assert.deepEqual([one.code, /--all/.test(one.stderr)], [1, true]);
      const { code, stdout } = await blocked.skip('foo@replica', '--all');
      assert.equal(code, 0);
      assert.match(
        stdout,
        new RegExp(`^foo@replica: dropped, ${BATCHES} batches \\(\\d+ bytes\\)`),
      );
      const { routes } = await site.status();
      assert.deepEqual(
        routes.map(({ route }) => route),
        ['foo@backup'],
      );
      assert.equal(blocked.audit.length, 1);
      if (!running) await site.start('run');
      await blocked.writer.commit();
      const rest = blocked.writer.written.subarray(Buffer.concat(blocked.batches).length);
      const dir = site.path('received/b/batches');
      const received = (): Buffer =>
        Buffer.concat(
          (existsSync(dir) ? readdirSync(dir) : []).map((name) => readFileSync(join(dir, name))),
        );
      await until('the other route goes on', () => received().equals(rest));
      const files = (): string[] => readdirSync(site.path('state/spool/foo'));
      await until('the spool is small', () => !files().some((name) => name.endsWith('.batch')));
      const again = await blocked.skip('foo@replica', '--all');
      assert.deepEqual([again.code, /no route is named/.test(again.stderr)], [2, true]);
    });
  }
});

/** How often a skip stands in the audit log after a kill: rather twice than never. */
const AUDITS: Partial<Record<CrashPoint, number>> = {
  'skip.kept': 1,
  'skip.recorded': 1,
  'skip.applied': 1,
  'skip.audited': 2,
};

/** After a kill there nobody says it again. */
const NEXT_START = new Set(['skip.recorded', 'skip.audited']);

// Most of it is waiting for leases of the killed.
describe('whoever gives up is killed', { concurrency: 2 }, () => {
  for (const [point, audits] of Object.entries(AUDITS)) {
    const env = { FERRY_CRASH_AT: point };

    it(`a producer killed at ${point} is replaced by the command that waits for it`, async () => {
      const { blocked, ferry } = await BlockedSite.make(env);
      const said = blocked.skip('foo', '1');
      assert.deepEqual(await ferry.exit, { code: null, signal: 'SIGKILL' });
      const { code, stderr } = await said;
      assert.deepEqual([code, stderr], [0, '']);
      await blocked.site.start('run');
      await blocked.isGivenUp();
      assert.equal(blocked.audit.length, audits);
    });

    const next = NEXT_START.has(point);
    it(`the command killed at ${point} ${next ? 'is followed by the next producer' : 'can be said again'}`, async () => {
      const { blocked } = await BlockedSite.make(null);
      const killed = await runFerry(skipWords('foo', '1'), { cwd: blocked.site.dir, env });
      assert.equal(killed.code, null);
      if (!next) {
        const again = await blocked.skip('foo', '1');
        assert.deepEqual([again.code, again.stderr], [0, '']);
      }
      await blocked.site.start('run');
      await blocked.isGivenUp();
      assert.equal(blocked.audit.length, audits);
    });
  }
});
