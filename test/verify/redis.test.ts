import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { extended } from '../../src/common/chain.js';
import { NO_PROGRESS } from '../../src/common/progress.js';
import { parseConfig } from '../../src/config/load.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { spoolDir } from '../../src/producers/spoolFiles.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import type { SentProof } from '../../src/verify/report.js';
import { verifySent } from '../../src/verify/sent.js';
import { MINIMAL_CONFIG } from '../config/samples.js';
import { batch, openQueueFixture, silent, urlConfig } from '../queue/helpers.js';
import { sealInline, temporaryDirectory } from '../spool/helpers.js';
import { failOnLeaks } from '../support/leaks.js';

const q = await openQueueFixture();
failOnLeaks();

const ROUTE = 'foo@replica';
const HASH = q.keys.route(ROUTE);

/** Four batches: two are confirmed, in Redis and in the spool, the other two wait in Redis. */
class Route {
  constructor(
    readonly spool: Spool,
    private readonly stateDir: string,
  ) {}

  static async make(t: TestContext): Promise<Route> {
    await q.redis.flushAll();
    const stateDir = await temporaryDirectory(t);
    const spool = await Spool.open(spoolDir(stateDir, 'foo'), { journal: 'foo', bootId: 'boot' });
    t.after(() => spool.close());
    const route = new Route(spool, stateDir);
    await spool.addRoute('replica', { after: 0 });
    await spool.recordGeneration('replica', 1);
    for (let n = 1; n <= 4; n += 1) await sealInline(spool, Buffer.from(`batch ${n}`));
    const open = { route: ROUTE, stream: spool.stream, generation: 1, waitMs: 0, intervalMs: 1 };
    await q.order.open({ ...open, maxAttempts: 0, reset: { head: 1, previous: 0 } });
    for (let n = 1; n <= 4; n += 1) {
      assert.equal((await q.order.accept(route.job(n))).is, 'accepted');
    }
    await route.ack(1);
    await route.ack(2);
    await spool.recordAck('replica', 2);
    await spool.recordAccepted('replica', 4);
    return route;
  }

  job(sequence: number): BatchJob {
    const { bytes = 0, sha256 = '' } = this.spool.batch(sequence) ?? {};
    return batch(sequence, { stream: this.spool.stream, bytes, sha256 });
  }

  /** As a worker does. */
  async ack(sequence: number): Promise<void> {
    const job = this.job(sequence);
    const go = await q.order.begin(job, 'w');
    assert.ok(go.is === 'go' && go.chain !== null);
    await q.order.ack(job, 'w', extended(go.chain, sequence, job.sha256));
  }

  verify(): Promise<SentProof> {
    const config = parseConfig(MINIMAL_CONFIG, {
      file: join(this.stateDir, 'ferry.yaml'),
      env: {},
    });
    const redis = urlConfig(`unix://${q.redis.socketPath}`);
    return verifySent({ ...config, redis, stateDir: this.stateDir }, silent, {
      ...{ name: null, expect: [], archive: true, isDaemon: false, progress: NO_PROGRESS },
    });
  }

  async finds(code: string, sequence: number | null): Promise<void> {
    const { ok, differences, routes } = await this.verify();
    assert.deepEqual(
      [ok, differences.map((one) => [one.code, one.routes, one.sequence])],
      [false, [[code, [ROUTE], sequence]]],
    );
    assert.equal(routes[0]?.redisAgrees, false);
  }

  /** Nothing is claimed, in either direction. */
  async isUnsure(what: RegExp): Promise<void> {
    const { ok, complete, unchecked, routes } = await this.verify();
    assert.deepEqual([ok, complete, routes[0]?.redisAgrees], [true, false, null]);
    assert.match(unchecked[0]?.what ?? '', what);
  }
}

describe('Redis beside the spool', () => {
  it('agrees, also when it has heard of confirmations that the spool has not', async (t) => {
    const route = await Route.make(t);
    for (const next of [3, 4, null]) {
      const { complete, differences, routes } = await route.verify();
      assert.deepEqual([complete, differences, routes[0]?.redisAgrees], [true, [], true]);
      if (next !== null) await route.ack(next);
    }
  });

  it('holds another batch than was captured, or has lost one of those it is to deliver', async (t) => {
    const route = await Route.make(t);
    const accepted = q.keys.batches(ROUTE);
    const right = (await q.data.hget(accepted, '3')) ?? '';
    await q.data.hset(accepted, '3', JSON.stringify({ ...route.job(3), sha256: 'f'.repeat(64) }));
    await route.finds('REDIS_DIFFERS', 3);
    await q.data.hset(accepted, '3', right);
    await q.data.hdel(accepted, '4');
    await route.finds('REDIS_DIFFERS', 4);
  });

  it('has confirmed something else', async (t) => {
    const route = await Route.make(t);
    const chain = await q.data.hget(HASH, 'chain');
    await q.data.hset(
      HASH,
      'chain',
      (chain ?? '').replace(/.$/, (last) => (last === '0' ? '1' : '0')),
    );
    await route.finds('CHAIN_DIFFERS', 2);
  });

  it('is ahead of a state directory that is an older copy', async (t) => {
    const route = await Route.make(t);
    await q.data.hset(HASH, 'tail', 5);
    await route.finds('REDIS_AHEAD', null);
    await q.data.hset(HASH, 'tail', 4, 'generation', 2);
    await route.finds('REDIS_AHEAD', null);
  });

  it('that has lost something proves and disproves nothing', async (t) => {
    const route = await Route.make(t);
    await q.data.hset(HASH, 'head', 2, 'previous', 1);
    await route.isUnsure(/has lost what the spool knows/);
    await q.data.hset(HASH, 'stream', 'b'.repeat(32));
    await route.isUnsure(/another stream/);
    await q.redis.flushAll();
    await route.isUnsure(/does not know the route/);
  });
});
