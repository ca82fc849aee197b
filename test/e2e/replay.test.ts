import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { describe, it } from 'node:test';
import type { CrashPoint } from '../../src/common/crashPoints.js';
import { Spool } from '../../src/producers/spool/spool.js';
import type { RouteStatus } from '../../src/status/report.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry, type TestProcess, until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { ARRIVAL_MS, type SenderOptions, Site, Writer } from './site.js';

failOnLeaks();

/** More than lies inside the spool's log: a file of its own. */
const LARGE_BYTES = 300_000;
const RESTORED_FROM = 3;

type Options = Partial<SenderOptions> & {
  attempts?: number;
  /** `limits.queued` */
  queued?: string;
};

/** A sender and a receiver of ours, which can be restored from an older copy of its data. */
class Restorable {
  readonly site: Site;
  readonly writer: Writer;
  readonly batches: Buffer[] = [];
  port = 0;
  receiver!: TestProcess;

  private constructor(
    site: Site,
    private readonly options: Options,
  ) {
    this.site = site;
    this.writer = new Writer(site.path('fifo/foo'));
  }

  static async make(options: Options = {}): Promise<Restorable> {
    const made = new Restorable(await Site.make(), options);
    await made.up();
    await made.configure();
    return made;
  }

  async configure(): Promise<void> {
    const { attempts = 0, queued = '1MiB', ...options } = this.options;
    await this.site.configure({
      destinations: { replica: { port: this.port } },
      journals: [
        `name: foo, path: fifo/foo, to: replica, interval: 100ms, attempts: ${attempts}, flush: {maxBytes: 1}, limits: {queued: ${queued}}`,
      ],
      ...options,
    });
  }

  async up(env: Record<string, string> = {}): Promise<void> {
    const { process, port } = await this.site.startReceiver(this.port, { env });
    this.receiver = process;
    this.port = port;
  }

  async down(): Promise<void> {
    await this.receiver.kill('SIGTERM');
  }

  /** Small and large ones, each a batch that is confirmed before the next. */
  async ship(count: number): Promise<void> {
    for (let n = 0; n < count; n += 1) {
      await this.commit();
      await this.idle();
    }
  }

  /** One commit that is a batch. */
  async commit({ captured = true } = {}): Promise<void> {
    const before = this.writer.written.length;
    await this.writer.commit(this.batches.length % 3 === 1 ? LARGE_BYTES : 200);
    this.batches.push(this.writer.written.subarray(before));
    if (captured) await until('it is captured', () => statSync(this.writer.path).size === 0);
  }

  /** Ships three, copies the receiver's data, ships `more`, and puts the copy back. */
  async restored(more: number): Promise<void> {
    await this.ship(RESTORED_FROM);
    await this.down();
    cpSync(this.site.path('received'), this.site.path('backup'), { recursive: true });
    await this.up();
    await this.ship(more);
    await this.down();
    await this.putBack();
  }

  async putBack(env: Record<string, string> = {}): Promise<void> {
    rmSync(this.site.path('received'), { recursive: true });
    cpSync(this.site.path('backup'), this.site.path('received'), { recursive: true });
    await this.up(env);
  }

  route(): Promise<RouteStatus> {
    return this.site.route('foo@replica');
  }

  async idle(): Promise<void> {
    const done = async () => {
      const spool = await Spool.readOnly(this.site.path('state/spool/foo'));
      const mark = spool?.route('replica');
      return mark?.replay === null && mark.acked === this.batches.length;
    };
    await until('it is idle', done, ARRIVAL_MS);
  }

  async refused(ferry: TestProcess): Promise<RouteStatus> {
    await ferry.line(/IDENTITY_REFUSED/, ARRIVAL_MS);
    return this.route();
  }

  /** Everything that was written is there, once, and the sender agrees. */
  async isWhole(): Promise<void> {
    await this.site.arrived('foo', this.writer.written);
    await this.idle();
    const { deliveredBatches, deliveredBytes, pendingBytes, replay } = await this.route();
    assert.deepEqual(
      { deliveredBatches, deliveredBytes, pendingBytes, replay },
      {
        deliveredBatches: this.batches.length,
        deliveredBytes: this.writer.written.length,
        pendingBytes: 0,
        replay: null,
      },
    );
  }

  replay(words: readonly string[], env: Record<string, string> = {}) {
    return runFerry(['replay', 'foo', ...words], { cwd: this.site.dir, env });
  }

  /** How often the audit log tells of a replay. */
  audited(): number {
    const path = this.site.path('state/audit.log');
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    return text.split('\n').filter((line) => line.includes('"event":"replay"')).length;
  }
}

describe('ferry replay --from', () => {
  it('brings a receiver that was restored from an older copy up to date, byte for byte', async () => {
    const r = await Restorable.make();
    const ferry = await r.site.start('run');
    await r.restored(4);
    await r.commit();
    const { lastError } = await r.refused(ferry);
    assert.match(lastError ?? '', /ferry replay ROUTE --from 4/);
    const asked = await r.replay(['--from', '4']);
    assert.equal(asked.code, 2);
    assert.match(asked.stdout, /batches 4 to 7 go out again, in order: 4 batches, /);
    assert.match(asked.stdout, /captured from 20.*Z to 20.*Z\n {2}nothing is missing/);
    assert.match(asked.stderr, /say it again with --yes/);
    assert.equal((await r.route()).replay, null);
    const { code, stderr } = await r.replay(['--from', '4', '--yes']);
    assert.deepEqual([code, stderr], [0, '']);
    await r.commit();
    await r.isWhole();
    assert.equal(r.audited(), 1);
    assert.equal((await r.route()).archivedFrom, 1);
  });

  it('sends what the receiver still has too, which stores nothing twice; through Redis', async () => {
    // Small batches in chunks, large ones through the window.
    const r = await Restorable.make({ payloads: 'redis', queued: '100KiB' });
    await r.site.start('run');
    await r.restored(3);
    const { code, stderr } = await r.replay(['--from', '1', '--yes']);
    assert.deepEqual([code, stderr], [0, '']);
    for (let n = 0; n < 3; n += 1) await r.commit();
    await r.isWhole();
  });

  it('holds a paused route, and shows what is to come', async () => {
    const r = await Restorable.make();
    await r.site.start('run');
    await r.restored(3);
    await runFerry(['pause', 'foo'], { cwd: r.site.dir });
    await r.commit();
    assert.equal((await r.replay(['--from', '4', '--yes'])).code, 0);
    const status = await r.route();
    const bytes = Buffer.concat(r.batches.slice(3, 6)).length;
    assert.deepEqual(status.replay, { from: 4, to: 6, batchesLeft: 3, bytesLeft: bytes });
    assert.deepEqual(
      [status.state, status.head, status.pendingBatches, status.deliveredBatches],
      ['paused', 4, 4, 6],
    );
    assert.equal(status.pendingBytes, bytes + (r.batches[6]?.length ?? 0));
    const listed = await runFerry(['batches', 'foo', '--json'], { cwd: r.site.dir });
    const { batches } = JSON.parse(listed.stdout) as { batches: { state: string }[] };
    assert.deepEqual(
      batches.map(({ state }) => ['archived', 'delivered'].includes(state)),
      [true, true, true, false, false, false, false],
    );
    const stopped = await r.replay(['--stop', '--yes']);
    assert.match(stopped.stdout, /has come to batch 4 of 6; 3 batches/);
    assert.equal((await r.route()).head, 7);
    assert.equal((await r.replay(['--from', '4', '--yes'])).code, 0);
    await runFerry(['resume', 'foo'], { cwd: r.site.dir });
    await r.isWhole();
  });

  it('leaves out what was given up, unless it is named', async () => {
    const r = await Restorable.make({ attempts: 1 });
    const ferry = await r.site.start('run');
    await r.ship(2);
    await r.down();
    mkdirSync(r.site.path('backup'));
    await r.commit();
    await ferry.line(/the route is blocked/, ARRIVAL_MS);
    await runFerry(['skip', 'foo', '3', '--reason', 'torn'], { cwd: r.site.dir });
    await r.up();
    await r.ship(2);
    const without = Buffer.concat(r.batches.filter((_, index) => index !== 2));
    await r.site.arrived('foo', without);
    await r.down();
    await r.putBack();
    const first = await r.replay(['--from', '1', '--yes']);
    assert.match(first.stdout, /4 batches, .*\n.*\n.*\n {2}1 that were given up are left out/);
    await r.site.arrived('foo', without);
    await r.idle();
    await r.down();
    await r.putBack();
    assert.equal((await r.replay(['--from', '1', '--with', '3', '--yes'])).code, 0);
    await r.site.arrived('foo', r.writer.written);
    await r.idle();
  });

  it('ends before the last one only where the receiver is known to be one of ours', async () => {
    const r = await Restorable.make();
    const ferry = await r.site.start('run');
    await r.restored(4);
    // Nothing has been refused yet: it could be a PicoLisp.
    const early = await r.replay(['--from', '4', '--to', '5', '--yes']);
    assert.equal(early.code, 1);
    assert.match(early.stderr, /must reach the last delivered batch, 7/);
    await r.commit();
    await r.refused(ferry);
    assert.equal((await r.replay(['--from', '4', '--to', '5', '--yes'])).code, 0);
    await r.site.arrived('foo', Buffer.concat(r.batches.slice(0, 5)));
    const again = async () => /ferry replay ROUTE --from 6/.test((await r.route()).lastError ?? '');
    await until('it is refused again, from there', again, ARRIVAL_MS);
    assert.equal((await r.replay(['--from', '6', '--yes'])).code, 0);
    await r.isWhole();
  });

  it('sends nothing that is not whole, and says why', async () => {
    const r = await Restorable.make({ archive: `{maxBytes: ${LARGE_BYTES + 20_000}}` });
    const ferry = await r.site.start('run');
    const refuses = async (words: string[], code: number, message: RegExp): Promise<void> => {
      const result = await r.replay([...words, '--yes']);
      assert.equal(result.code, code, result.stdout + result.stderr);
      assert.match(result.stderr, message);
      assert.match(result.stderr, /hint: |--help/);
    };
    await r.ship(6);
    const pruned = async () => (await r.route()).archivedFrom === 3;
    await until('the oldest are pruned', pruned, ARRIVAL_MS);
    // The spool has every batch until the archive has it for good, and a replay may take it there.
    const letGo = async () => {
      const spool = await Spool.readOnly(r.site.path('state/spool/foo'));
      return spool !== undefined && spool.batch(1) === undefined && spool.batch(2) === undefined;
    };
    await until('the spool has let go of them', letGo, ARRIVAL_MS);
    await refuses(
      ['--from', '1'],
      1,
      /not in the archive of foo@replica: batch 1 to 2[\s\S]*missing from 3 on/,
    );
    await refuses(['--from', '7'], 1, /batch 7 is not delivered yet: the last delivered one is 6/);
    await refuses(['--from', '3', '--to', '4'], 1, /must reach the last delivered batch, 6/);
    await refuses(['--from', '5', '--to', '4'], 2, /lies before/);
    await refuses(['--from', '3', '--with', '4'], 2, /no given-up batch/);
    await refuses(['--stop'], 1, /nothing is replayed/);
    await refuses(['--from', 'x'], 2, /Expected the number of a batch/);
    await ferry.kill('SIGTERM');
    const pack = r.site.path('state/archive/foo/delivered/0000000003.pack');
    const content = readFileSync(pack);
    content[20] = (content[20] ?? 0) ^ 1;
    writeFileSync(pack, content);
    await refuses(['--from', '3'], 1, /batch 3 is damaged/);
    assert.equal((await r.replay(['5'])).code, 1);
    assert.equal((await r.route()).head, 7);
    assert.equal(r.audited(), 0);
  });
});

// Most of it is waiting for leases.
describe('a replay that is disturbed', { concurrency: 2 }, () => {
  it('goes on where it was after a loss of Redis, and after a kill of its receiver', async () => {
    const redis = await startTestRedis();
    const r = await Restorable.make({ redis: redis.url });
    const ferry = await r.site.start('run');
    await r.restored(6);
    await r.down();
    await r.putBack({ FERRY_CRASH_AT: 'receiver.answered:4' });
    assert.equal((await r.replay(['--from', '4', '--yes'])).code, 0);
    await r.receiver.exit;
    await redis.command('FLUSHALL');
    await r.commit();
    await ferry.kill('SIGKILL');
    await r.up();
    await r.site.start('run');
    await r.isWhole();
    assert.equal(r.audited(), 1);
  });

  const points: readonly CrashPoint[] = ['replay.recorded', 'replay.opened', 'replay.audited'];
  for (const point of points) {
    const env = { FERRY_CRASH_AT: point };

    it(`is carried on with after a kill of its producer at ${point}`, async () => {
      const r = await Restorable.make();
      const ferry = await r.site.start('run', { env });
      await r.restored(3);
      const said = r.replay(['--from', '4', '--yes']);
      assert.deepEqual(await ferry.exit, { code: null, signal: 'SIGKILL' });
      const { code, stderr } = await said;
      assert.deepEqual([code, stderr], [0, '']);
      await r.site.start('run');
      await r.commit();
      await r.isWhole();
      assert.ok(r.audited() >= 1);
    });
  }

  it('is carried on with by the next producer after a kill of the command', async () => {
    const r = await Restorable.make();
    const ferry = await r.site.start('run');
    await r.restored(3);
    await ferry.kill('SIGTERM');
    const env = { FERRY_CRASH_AT: 'replay.recorded' };
    assert.equal((await r.replay(['--from', '4', '--yes'], env)).code, null);
    await r.site.start('run');
    await r.commit();
    await r.isWhole();
    assert.equal(r.audited(), 1);
  });
});
