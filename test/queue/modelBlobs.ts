import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { BlobJob, BlobSent } from '../../src/queue/jobs.js';
import { blobKey } from '../../src/queue/jobs.js';
import type { BeginBlobAnswer } from '../../src/queue/routeAnswers.js';
import { LEASE_MS } from '../../src/queue/routeOrder.js';
import type { RouteError } from '../../src/queue/routeState.js';
import { batch, blob, openRoute, type QueueFixture, STREAM } from './helpers.js';

const ROUTE = 'foo@replica';
const OTHER_STREAM = 'b'.repeat(32);
const LINKS = ['=1.img', '=2.img'] as const;
const INTERVAL_MS = 1_000;
const SENT: BlobSent = { inode: 1, bytes: 2, mtimeMs: 3, crc32: null };
const ERROR: RouteError = { code: 'X', message: 'x', at: 0 };

/** One thing that may happen to the blobs of a route. `job` and `who` count back from the latest. */
export type BlobStep =
  | { do: 'see'; link: number; follows: number }
  | { do: 'begin'; job: number }
  | { do: 'renew' | 'confirm'; who: number }
  | { do: 'release'; who: number; failed: boolean }
  | { do: 'deliver' | 'skip' }
  | { do: 'hold'; what: 'pause' | 'resume' }
  | { do: 'pass'; ms: number }
  | { do: 'forget'; link: number }
  | { do: 'lose'; what: 'everything' | 'the route' }
  | { do: 'restart' | 'open' | 'newStream' };

const back = fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(4));
const one = (what: BlobStep['do']): fc.Arbitrary<BlobStep> => fc.constant({ do: what } as BlobStep);
const see = fc.record({
  do: fc.constant('see' as const),
  link: fc.nat(LINKS.length - 1),
  follows: fc.integer({ min: -1, max: 1 }),
});
const begin = fc.record({ do: fc.constant('begin' as const), job: back });
const word = fc.record({ do: fc.constantFrom('renew' as const, 'confirm' as const), who: back });
const release = fc.record({ do: fc.constant('release' as const), who: back, failed: fc.boolean() });
const pass = fc.record({
  do: fc.constant('pass' as const),
  ms: fc.constantFrom(LEASE_MS / 3, LEASE_MS),
});
const hold = fc.record({
  do: fc.constant('hold' as const),
  what: fc.constantFrom('pause' as const, 'resume' as const, 'resume' as const),
});
const lose = fc.record({
  do: fc.constant('lose' as const),
  what: fc.constantFrom('everything' as const, 'the route' as const),
});

/** An older version waits for a later batch than a newer one that is confirmed before it. */
const overtaken = fc.constant<BlobStep[]>([
  { do: 'see', link: 0, follows: 1 },
  { do: 'begin', job: 0 },
  { do: 'see', link: 0, follows: -1 },
  { do: 'begin', job: 0 },
  { do: 'confirm', who: 0 },
  { do: 'begin', job: 1 },
]);

export const blobSteps: fc.Arbitrary<BlobStep[]> = fc
  .array(
    fc.oneof<{ weight: number; arbitrary: fc.Arbitrary<BlobStep[]> }[]>(
      { weight: 4, arbitrary: fc.tuple(see, begin) },
      { weight: 4, arbitrary: fc.tuple(begin) },
      { weight: 1, arbitrary: overtaken },
      { weight: 4, arbitrary: fc.tuple(begin, word) },
      { weight: 2, arbitrary: fc.tuple(word) },
      { weight: 2, arbitrary: fc.tuple(begin, release) },
      { weight: 1, arbitrary: fc.tuple(release) },
      { weight: 4, arbitrary: fc.tuple(one('deliver')) },
      { weight: 1, arbitrary: fc.tuple(one('skip')) },
      { weight: 2, arbitrary: fc.tuple(pass) },
      { weight: 2, arbitrary: fc.tuple(hold) },
      { weight: 1, arbitrary: fc.tuple(lose, one('open')) },
      { weight: 1, arbitrary: fc.tuple(one('restart'), one('open')) },
      { weight: 1, arbitrary: fc.tuple(one('restart')) },
      { weight: 1, arbitrary: fc.tuple(one('newStream')) },
      {
        weight: 1,
        arbitrary: fc.tuple(
          fc.record({ do: fc.constant('forget' as const), link: fc.nat(LINKS.length - 1) }),
        ),
      },
    ),
    { maxLength: 50, size: 'max' },
  )
  .map((all) => all.flat());

/** What Redis ought to hold of one link; times in ms of the model's clock. */
interface Known {
  stream: string;
  version: number;
  lease: number;
  holder: string;
  confirmed: boolean;
  failed: boolean;
}

interface Activation {
  job: BlobJob;
  holder: string;
}

/** The blobs of one route in a real Redis and in a model, moved step by step. */
export class BlobRun {
  #now = 0;
  // The route, as the model knows it.
  #open = true;
  #there = true;
  #stream = STREAM;
  #generation = 1;
  #head = 1;
  #tail = 0;
  #paused = false;
  #notBefore = 0;
  readonly #known = new Map<string, Known>();
  readonly #parked = new Map<string, number>();
  // What the producer and the workers know.
  #version = 0;
  readonly #jobs: BlobJob[] = [];
  readonly #activations: Activation[] = [];
  #holders = 0;
  // What the destination sees: who sends a link until when, and which version it has.
  readonly #wire = new Map<string, { holder: string; until: number }>();
  readonly #has = new Map<string, number>();

  constructor(private readonly q: QueueFixture) {}

  async run(steps: readonly BlobStep[]): Promise<void> {
    await this.q.redis.flushAll();
    await this.#opens(0);
    for (const step of steps) {
      await this.#take(step);
      await this.#check();
    }
  }

  async #take(step: BlobStep): Promise<void> {
    switch (step.do) {
      case 'see':
        this.#version += 1;
        this.#jobs.push(
          blob(this.#version, {
            stream: this.#stream,
            link: LINKS[step.link] ?? '',
            follows: Math.max(0, this.#head + step.follows),
          }),
        );
        return;
      case 'begin':
        return this.#begin(step.job);
      case 'renew':
      case 'confirm':
      case 'release':
        return this.#end(step);
      case 'deliver':
      case 'skip':
        return this.#moveOn(step.do);
      case 'hold':
        await this.q.order.hold(ROUTE, step.what);
        if (this.#there) this.#paused = step.what === 'pause';
        return;
      case 'pass':
        return this.#pass(step.ms);
      case 'forget': {
        const link = LINKS[step.link] ?? '';
        // Its producer does that when the link is gone: nobody sends it then.
        if ((this.#wire.get(link)?.until ?? 0) > this.#now) return;
        await this.q.order.forgetBlobs(ROUTE, [link]);
        this.#known.delete(link);
        this.#has.delete(link);
        return;
      }
      case 'lose':
        return this.#lose(step.what);
      case 'restart':
        this.#open = false;
        if (this.#there) await this.q.data.hset(this.q.keys.route(ROUTE), 'run', 'an-older-run');
        return;
      case 'open':
        if (!this.#open) await this.#opens(this.#there ? 0 : LEASE_MS);
        return;
      case 'newStream':
        if (!this.#there) return;
        this.#stream = this.#stream === STREAM ? OTHER_STREAM : STREAM;
        this.#there = false;
        // Versions of another stream prove nothing.
        this.#has.clear();
        return this.#opens(LEASE_MS);
    }
  }

  /** As its producer does: resumed as it was, or begun anew behind what was confirmed. */
  async #opens(waitMs: number): Promise<void> {
    const resumes = this.#there && this.#open === false;
    if (!resumes) {
      this.#generation += 1;
      this.#tail = this.#head - 1;
      this.#notBefore = waitMs > 0 ? this.#now + waitMs : 0;
    }
    const reset = { head: this.#head, previous: this.#head - 1 };
    const answer = await openRoute(this.q.order, {
      stream: this.#stream,
      generation: this.#generation,
      waitMs,
      intervalMs: INTERVAL_MS,
      maxAttempts: 1,
      paused: this.#paused,
      ...(resumes ? { reset: undefined } : { reset }),
    } as Parameters<typeof openRoute>[1]);
    assert.equal(answer.is, 'open');
    this.#there = this.#open = true;
  }

  #expectBegin(job: BlobJob, jobId: string, holder: string): BeginBlobAnswer {
    if (!this.#there || !this.#open) return { is: 'closed' };
    if (job.stream !== this.#stream) return { is: 'stale' };
    const known = this.#known.get(job.link);
    const same = known?.stream === job.stream;
    if (same && job.version <= known.version) {
      this.#parked.delete(jobId);
      return { is: 'delivered' };
    }
    if (this.#head <= job.follows || this.#paused) {
      this.#parked.set(jobId, job.follows);
      return { is: 'park' };
    }
    const free = Math.max(known?.lease ?? 0, this.#notBefore);
    if (free > this.#now) return { is: 'wait', ms: free - this.#now };
    this.#known.set(job.link, {
      stream: job.stream,
      version: same ? known.version : 0,
      lease: this.#now + LEASE_MS,
      holder,
      confirmed: known?.confirmed ?? false,
      failed: known?.failed ?? false,
    });
    this.#parked.delete(jobId);
    return { is: 'go', intervalMs: INTERVAL_MS };
  }

  async #begin(back: number): Promise<void> {
    const job = this.#jobs.at(-1 - (back % Math.max(1, this.#jobs.length)));
    if (job === undefined) return;
    this.#holders += 1;
    const holder = `b${this.#holders}`;
    const jobId = idOf(job);
    const expected = this.#expectBegin(job, jobId, holder);
    const answer = await this.q.order.beginBlob(job, jobId, holder);
    if (answer.is === 'wait' && expected.is === 'wait') {
      assert.ok(answer.ms <= expected.ms && answer.ms > expected.ms - LEASE_MS / 3, 'the wait');
      return;
    }
    assert.deepEqual(answer, expected);
    if (answer.is !== 'go') return;
    this.#activations.push({ job, holder });
    this.#mayBeSent(job, holder);
  }

  /** The guarantee, without a look at how Redis decides. */
  #mayBeSent({ link, version, follows, stream }: BlobJob, holder: string): void {
    assert.ok(follows < this.#head, `a blob of batch ${follows} came before it`);
    const other = this.#wire.get(link);
    assert.ok(other === undefined || other.until <= this.#now, 'two send one link at a time');
    assert.equal(stream, this.#stream);
    const has = this.#has.get(link) ?? 0;
    assert.ok(version > has, `version ${version} came although ${has} was confirmed`);
    this.#wire.set(link, { holder, until: this.#now + LEASE_MS });
  }

  async #end(step: Extract<BlobStep, { do: 'renew' | 'confirm' | 'release' }>): Promise<void> {
    const activation = this.#activations.at(
      -1 - (step.who % Math.max(1, this.#activations.length)),
    );
    if (activation === undefined) return;
    const { job, holder } = activation;
    const known = this.#known.get(job.link);
    const holds = known?.stream === job.stream && known.holder === holder;
    const sends = this.#wire.get(job.link);
    const said = { renew: 'renew', confirm: { confirm: SENT } } as const;
    const what = step.do === 'release' ? { release: step.failed ? ERROR : null } : said[step.do];
    assert.equal(await this.q.order.endBlob(job, holder, what), holds);
    if (sends?.holder === holder) {
      if (step.do === 'renew' && holds) sends.until = this.#now + LEASE_MS;
      else this.#wire.delete(job.link);
    }
    if (!holds) return;
    if (step.do === 'renew') known.lease = this.#now + LEASE_MS;
    else known.lease = 0;
    if (step.do === 'renew') {
      // It may go on with a lease that had ended: nobody took it meanwhile.
      this.#wire.set(job.link, { holder, until: known.lease });
    } else if (step.do === 'release') {
      known.holder = '';
      known.failed ||= step.failed;
    } else {
      known.version = Math.max(known.version, job.version);
      known.confirmed = true;
      known.failed = false;
      this.#has.set(job.link, Math.max(this.#has.get(job.link) ?? 0, job.version));
    }
  }

  /** The head is confirmed, or blocked and given up. */
  async #moveOn(how: 'deliver' | 'skip'): Promise<void> {
    if (!this.#open || !this.#there || this.#paused || this.#notBefore > this.#now) return;
    const { order } = this.q;
    const job = batch(this.#head, { stream: this.#stream, generation: this.#generation });
    if (this.#tail < this.#head) {
      assert.equal((await order.accept(job)).is, 'accepted');
      this.#tail = this.#head;
    }
    assert.equal((await order.begin(job, 'w')).is, 'go');
    const answer =
      how === 'deliver'
        ? await order.ack(job, 'w')
        : await order.release(job, 'w').then(() => order.skip(ROUTE, job.generation, job.sequence));
    assert.ok(answer.is === 'acked' || answer.is === 'skipped');
    this.#head += 1;
    const runnable = [...this.#parked].filter(([, follows]) => follows <= job.sequence);
    runnable.sort(([a, m], [b, n]) => m - n || (a < b ? -1 : 1));
    assert.deepEqual(
      answer.blobs,
      runnable.map(([id]) => id),
    );
    for (const [id] of runnable) this.#parked.delete(id);
  }

  async #pass(ms: number): Promise<void> {
    this.#now += ms;
    const { data, keys } = this.q;
    for (const [field, raw] of Object.entries(await data.hgetall(keys.blobs(ROUTE)))) {
      const state = JSON.parse(raw) as { lease: number };
      if (state.lease > 0) state.lease -= ms;
      await data.hset(keys.blobs(ROUTE), field, JSON.stringify(state));
    }
    const at = Number((await data.hget(keys.route(ROUTE), 'notBefore')) ?? 0);
    if (at > 0) await data.hset(keys.route(ROUTE), 'notBefore', String(at - ms));
  }

  async #lose(what: 'everything' | 'the route'): Promise<void> {
    const { data, keys } = this.q;
    await data.del(keys.route(ROUTE), keys.batches(ROUTE));
    this.#there = this.#open = false;
    if (what === 'the route') return;
    await data.del(keys.blobs(ROUTE), keys.parkedBlobs(ROUTE));
    this.#known.clear();
    this.#parked.clear();
    this.#has.clear(); // what was confirmed may come once more
  }

  async #check(): Promise<void> {
    const { data, keys } = this.q;
    const hash = await data.hgetall(keys.blobs(ROUTE));
    const expected = [...this.#known].map(([link, known]) => [blobKey(link), known] as const);
    assert.deepEqual(Object.keys(hash).sort(), expected.map(([key]) => key).sort());
    for (const [key, known] of expected) {
      const raw = JSON.parse(hash[key] ?? '') as Record<string, unknown>;
      assert.deepEqual(
        [raw['stream'], raw['version'], raw['holder'], raw['lease'] === 0],
        [known.stream, known.version, known.holder, known.lease === 0],
      );
      assert.equal(raw['sent'] !== undefined, known.confirmed, 'what was sent');
      assert.equal(raw['error'] !== undefined, known.failed, 'the error');
    }
    const parked = await data.zrange(keys.parkedBlobs(ROUTE), '0', '-1');
    assert.deepEqual(parked.sort(), [...this.#parked.keys()].sort());
  }
}

/** Sorts as its versions do, as far as a test goes. */
function idOf(job: BlobJob): string {
  return `${job.link} ${String(job.version).padStart(6, '0')} ${job.stream[0]}`;
}
