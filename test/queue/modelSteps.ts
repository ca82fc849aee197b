import assert from 'node:assert/strict';
import fc from 'fast-check';
import { beginChain, type Chain, chainText, extended } from '../../src/common/chain.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import type { Failure } from '../../src/queue/routeAnswers.js';
import { LEASE_MS } from '../../src/queue/routeOrder.js';
import { batch, type QueueFixture, STREAM } from './helpers.js';
import { OLDER_RUN, RouteModel, THIS_RUN, Wire } from './modelRoute.js';

/** Whoever began once asks something, now and then of a wrong batch or generation. */
interface Asker {
  /** Activations back from the latest. */
  who: number;
  offset: number;
  generation: number;
}

/** One thing that may happen to a route. `offset` counts batches from the right one. */
export type Step =
  | { do: 'look'; maxAttempts: number }
  | { do: 'feed'; record: boolean }
  | { do: 'accept'; offset: number; as: 'right' | 'digest' | 'stream' | 'generation' }
  | { do: 'openWrongly'; as: 'stream' | 'generation' | 'again' | 'back' }
  | { do: 'begin'; offset: number; generation: number }
  | ({ do: 'renew' | 'release' } & Asker)
  | ({ do: 'repeated' } & Asker)
  | ({ do: 'fail'; failure: Omit<Failure, 'error'> } & Asker)
  | ({ do: 'ack'; twice: boolean; chains: boolean } & Asker)
  | { do: 'strangerAcks' }
  | { do: 'hold'; what: 'pause' | 'resume' | 'unblock' }
  | { do: 'skip'; killed: boolean }
  | { do: 'skipWrongly'; offset: number; generation: number }
  | { do: 'replay'; back: number; killed: boolean }
  | { do: 'pass'; ms: number }
  | { do: 'snapshot' }
  | { do: 'lose'; how: 'everything' | 'since the snapshot' | 'nothing' };

const offset = fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: -2, max: 2 }));
const generation = fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, fc.constantFrom(-1, 1));
const asker = {
  who: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(4)),
  offset,
  generation,
};
/** 0: for ever. */
export const maxAttempts = fc.constantFrom(0, 1, 3);

/** Steps of a third of a lease, so that the milliseconds a run takes never decide. */
const PASS_MS = [LEASE_MS / 3, LEASE_MS];

const look = fc.record({ do: fc.constant('look' as const), maxAttempts });
const feed = fc.record({ do: fc.constant('feed' as const), record: fc.boolean() });
const pass = fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(...PASS_MS) });
const begin = fc.record({ do: fc.constant('begin' as const), offset, generation });
/** False: a worker of a version that knows no chain. */
const chains = fc.oneof({ weight: 7, arbitrary: fc.constant(true) }, fc.constant(false));
const ack = fc.record({
  do: fc.constant('ack' as const),
  ...asker,
  ...{ twice: fc.boolean(), chains },
});
const lease = fc.record({ do: fc.constantFrom('renew' as const, 'release' as const), ...asker });
const failure = { resend: false, counted: true, uncertain: false, echoed: false };
const fail = fc.record({
  do: fc.constant('fail' as const),
  ...asker,
  failure: fc.constantFrom(
    { ...failure, counted: false },
    { ...failure, resend: true },
    { ...failure, resend: true, uncertain: true },
    { ...failure, uncertain: true, echoed: true },
  ),
});
const repeated = fc.record({ do: fc.constant('repeated' as const), ...asker });
const hold = fc.record({
  do: fc.constant('hold' as const),
  what: fc.constantFrom('pause' as const, 'resume' as const, 'unblock' as const),
});
const skip = fc.record({ do: fc.constant('skip' as const), killed: fc.boolean() });
const replay = fc.record({
  do: fc.constant('replay' as const),
  back: fc.nat(3),
  killed: fc.boolean(),
});
const counted = { ...failure, resend: true };
const blocked = fc.constant<Step[]>([
  { do: 'begin', offset: 0, generation: 0 },
  { do: 'fail', who: 0, offset: 0, generation: 0, failure: counted },
]);
const resume = fc.constant({ do: 'hold' as const, what: 'resume' as const });
const lose = fc.record({
  do: fc.constant('lose' as const),
  how: fc.constantFrom(
    'everything' as const,
    'since the snapshot' as const,
    'since the snapshot' as const,
    'nothing' as const,
  ),
});

/** What often follows each other, so that much happens between two losses. */
const episode: fc.Arbitrary<Step[]> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(feed) },
  { weight: 6, arbitrary: fc.tuple(feed, feed, begin, ack) },
  { weight: 3, arbitrary: fc.tuple(look) },
  { weight: 4, arbitrary: fc.tuple(begin) },
  { weight: 2, arbitrary: fc.tuple(ack) },
  { weight: 5, arbitrary: fc.tuple(begin, ack) },
  { weight: 6, arbitrary: fc.tuple(begin, fail) },
  { weight: 1, arbitrary: fc.tuple(begin, repeated, ack) },
  { weight: 2, arbitrary: fc.tuple(pass, begin) },
  { weight: 1, arbitrary: fc.tuple(fail) },
  { weight: 2, arbitrary: fc.tuple(lease) },
  { weight: 1, arbitrary: fc.tuple(pass) },
  { weight: 1, arbitrary: fc.tuple(hold) },
  { weight: 2, arbitrary: fc.tuple(resume) },
  { weight: 3, arbitrary: fc.tuple(blocked, skip).map(([steps, word]) => [...steps, word]) },
  { weight: 1, arbitrary: fc.tuple(skip) },
  // Somebody retries it before Redis hears of the skip: he still sends, or has confirmed it.
  {
    weight: 1,
    arbitrary: fc
      .tuple(blocked, begin, fc.option(ack), look)
      .map(([steps, again, confirmed, next]) => [
        ...steps,
        { do: 'skip' as const, killed: true },
        again,
        ...(confirmed === null ? [] : [confirmed]),
        next,
      ]),
  },
  { weight: 2, arbitrary: fc.tuple(replay) },
  { weight: 1, arbitrary: fc.tuple(begin, replay, begin, pass, begin, ack) },
  {
    weight: 1,
    arbitrary: fc.tuple(
      fc.record({
        do: fc.constant('skipWrongly' as const),
        offset: fc.constantFrom(-2, -1, 1, 2),
        generation,
      }),
    ),
  },
  { weight: 1, arbitrary: fc.tuple(fc.constant({ do: 'snapshot' as const })) },
  { weight: 1, arbitrary: fc.tuple(lose, look, pass, pass) },
  { weight: 1, arbitrary: fc.tuple(lose) },
  { weight: 1, arbitrary: fc.tuple(lose, look) },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.record({
        do: fc.constant('accept' as const),
        offset: fc.integer({ min: -4, max: 2 }),
        as: fc.constantFrom(
          'right' as const,
          'digest' as const,
          'stream' as const,
          'generation' as const,
        ),
      }),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(
      fc.record({
        do: fc.constant('openWrongly' as const),
        as: fc.constantFrom(
          'stream' as const,
          'generation' as const,
          'again' as const,
          'back' as const,
        ),
      }),
    ),
  },
  { weight: 1, arbitrary: fc.tuple(fc.constant({ do: 'strangerAcks' as const })) },
);

const episodes = fc.array(episode, { maxLength: 60, size: 'max' }).map((all) => all.flat());

/** Most begin with an open route; shrinking takes that away where it does not matter. */
export const steps: fc.Arbitrary<Step[]> = fc
  .tuple(fc.oneof(fc.constant([]), fc.tuple(look), fc.tuple(look, feed, feed)), episodes)
  .map(([first, rest]) => [...first, ...rest]);

interface Snapshot {
  at: number;
  hash: Record<string, string>;
  accepted: Record<string, string>;
  model: ReturnType<RouteModel['snapshot']>;
}

interface Activation {
  job: BatchJob;
  holder: string;
  /** What `begin` said. */
  chain: Chain | null;
}

/** One route in a real Redis and in the model, moved step by step. */
export class RouteRun {
  readonly model = new RouteModel();
  readonly wire = new Wire();
  readonly #route: string;
  readonly #hashKey: string;
  readonly #acceptedKey: string;
  /** What the producer's spool remembers of the route. */
  readonly #spool = {
    last: 0,
    acked: 0,
    previous: 0,
    accepted: 0,
    generation: 0,
    paused: false,
    /** Confirmed once more through here, until it is `acked` again; null: nothing is replayed. */
    replayed: null as number | null,
    /** Where the replay began: nothing before it is owed once more. */
    replayedFrom: 0,
    skipped: new Set<number>(),
    /** Given up, and Redis may not know. */
    unfinished: null as number | null,
    chain: beginChain(1),
  };
  #open = false;
  readonly #activations: Activation[] = [];
  /** Who was let on the wire last; null: that was before a loss. */
  #latest: string | null = null;
  readonly #movedBy = new Set<string>();
  #holders = 0;
  #snapshot: Snapshot | null = null;
  #rewinds = false;
  #seen = { generation: 0, first: 1, head: 0 };

  constructor(
    private readonly q: QueueFixture,
    name: string,
  ) {
    this.#route = `${name}@replica`;
    this.#hashKey = q.keys.route(this.#route);
    this.#acceptedKey = q.keys.batches(this.#route);
  }

  async run(all: readonly Step[]): Promise<void> {
    for (const step of all) {
      await this.#take(step);
      await this.#check();
    }
  }

  /** Whatever happened before: the producer looks, leases run out, and everything is delivered. */
  async finish(): Promise<void> {
    await this.run([
      { do: 'hold', what: 'resume' },
      { do: 'pass', ms: LEASE_MS },
      { do: 'look', maxAttempts: 0 },
      { do: 'look', maxAttempts: 0 },
      { do: 'pass', ms: LEASE_MS },
    ]);
    while ((this.model.stored?.tail ?? 0) < this.#spool.last) {
      await this.run([{ do: 'feed', record: true }]);
    }
    const left = this.#spool.last - (this.model.stored?.head ?? 1) + 1;
    for (let n = 0; n < left; n += 1) {
      await this.run([
        { do: 'begin', offset: 0, generation: 0 },
        { do: 'ack', who: 0, offset: 0, generation: 0, twice: false, chains: true },
      ]);
    }
    assert.equal(this.wire.passed, this.#spool.last, 'not everything was delivered');
    await this.run([{ do: 'look', maxAttempts: 0 }]);
    assert.equal(this.#spool.acked, this.#spool.last);
  }

  async forget(): Promise<void> {
    await this.q.data.del(this.#hashKey, this.#acceptedKey);
  }

  async #take(step: Step): Promise<void> {
    switch (step.do) {
      case 'look':
        return this.#look(step.maxAttempts);
      case 'feed':
        return this.#feed(step.record);
      case 'accept':
        return this.#accept(step.offset, step.as);
      case 'openWrongly':
        return this.#openWrongly(step.as);
      case 'begin':
        return this.#begin(step.offset, step.generation);
      case 'renew':
      case 'release':
        return this.#lease(step);
      case 'repeated': {
        const { job, holder } = this.#asker(step);
        this.model.repeated(job, holder);
        return this.q.order.repeated(job, holder);
      }
      case 'fail':
        return this.#fail(step);
      case 'ack':
        for (let n = 0; n < (step.twice ? 2 : 1); n += 1) await this.#ack(step);
        return;
      case 'strangerAcks': {
        const answer = await this.q.order.ack(this.#job(this.#head), 'stranger');
        return assert.equal(answer.is, 'stale');
      }
      case 'hold': {
        if (step.what !== 'unblock') this.#spool.paused = step.what === 'pause';
        const expected = this.model.hold(step.what);
        const answer = await this.q.order.hold(this.#route, step.what);
        return assert.deepEqual(
          answer === null ? null : { head: answer.head, tail: answer.tail },
          expected,
        );
      }
      case 'skip':
        return this.#skip(step.killed);
      case 'replay':
        return this.#replay(step.back, step.killed);
      case 'skipWrongly': {
        const generation = this.#spool.generation + step.generation;
        const sequence = this.#head + step.offset;
        const { answer: expected, moved } = this.model.skip(generation, sequence);
        assert.ok(!moved);
        return assert.deepEqual(
          await this.q.order.skip(this.#route, generation, sequence),
          expected,
        );
      }
      case 'pass':
        this.model.now += step.ms;
        return this.#shiftTimes(step.ms);
      case 'snapshot':
        this.#snapshot = {
          at: this.model.now,
          hash: await this.q.data.hgetall(this.#hashKey),
          accepted: await this.q.data.hgetall(this.#acceptedKey),
          model: this.model.snapshot(),
        };
        return;
      case 'lose':
        return this.#lose(step.how);
    }
  }

  get #head(): number {
    return this.model.stored?.head ?? this.#acked + 1;
  }

  #job(sequence: number, fields: Partial<BatchJob> = {}): BatchJob {
    return batch(sequence, {
      route: this.#route,
      generation: this.#spool.generation,
      ...fields,
    });
  }

  /** Before any activation it is somebody who never began. */
  #asker({ who, offset, generation }: Asker): Activation {
    const back = who % Math.max(1, this.#activations.length);
    const nobody = { job: this.#job(1), holder: 'x', chain: null };
    const { job, holder, chain } = this.#activations.at(-1 - back) ?? nobody;
    return {
      holder,
      chain,
      job: {
        ...job,
        sequence: job.sequence + offset,
        generation: job.generation + generation,
      },
    };
  }

  /** Everything up to here is behind the route, in a replay too. */
  get #acked(): number {
    return this.#spool.replayed ?? this.#spool.acked;
  }

  /** What a producer does at a start, after a reconnection and now and then. */
  async #look(maxAttempts: number): Promise<void> {
    const spool = this.#spool;
    if (!(await this.#finishSkip())) return;
    let jumped = false;
    const state = await this.q.order.state(this.#route);
    const runId = this.q.scripts.runId();
    const same =
      state !== null &&
      state.generation === spool.generation &&
      state.head > this.#acked &&
      state.tail >= spool.accepted;
    if (same && this.#open && state.run === runId) return this.#recordAck(state.head - 1);
    if (same) {
      await this.#opens({
        maxAttempts,
        generation: state.generation,
        waitMs: this.#rewinds ? LEASE_MS : 0,
      });
    } else {
      const first = state === null && spool.generation === 0;
      // Redis has lost nothing where only a replay jumped.
      jumped = state !== null && state.generation < spool.generation && state.run === runId;
      this.#rewinds = !first;
      spool.generation = Math.max(spool.generation, state?.generation ?? 0) + 1;
      spool.accepted = this.#acked;
      const previous = spool.replayed === null ? spool.previous : this.#prior(spool.replayed + 1);
      const repeats =
        !jumped &&
        previous > 0 &&
        previous === this.#acked &&
        (spool.replayed === null || previous >= spool.replayedFrom);
      await this.#opens({
        maxAttempts,
        generation: spool.generation,
        waitMs: first || jumped ? 0 : LEASE_MS,
        reset: {
          head: this.#acked + 1,
          previous,
          ...(repeats && {
            repeat: { job: this.#job(previous), previous: this.#prior(previous) },
          }),
        },
      });
    }
    if (jumped) this.wire.replays(this.#head);
    else if (this.#rewinds) this.wire.rewound(this.#head, this.#acked);
    this.#rewinds = false;
    this.#open = true;
    this.#recordAck(this.#head - 1);
  }

  #recordAck(sequence: number): void {
    const spool = this.#spool;
    if (sequence <= this.#acked) return;
    if (spool.replayed !== null) {
      spool.replayed = sequence < spool.acked ? sequence : null;
      spool.accepted = Math.max(spool.accepted, sequence);
    }
    if (sequence <= spool.acked) return;
    for (let seq = spool.acked + 1; seq <= sequence; seq += 1) {
      spool.chain = extended(spool.chain, seq, this.#job(seq).sha256);
    }
    spool.acked = spool.previous = sequence;
    spool.accepted = Math.max(spool.accepted, sequence);
  }

  /** What was confirmed before it. */
  #prior(sequence: number): number {
    let before = sequence - 1;
    while (this.#spool.skipped.has(before)) before -= 1;
    return before;
  }

  /**
   * Delivered batches are to go out again; `killed`: whoever does it dies with the spool's word.
   * What was given up in between takes generations of its own, each like this one.
   */
  async #replay(back: number, killed: boolean): Promise<void> {
    const spool = this.#spool;
    const state = await this.q.order.state(this.#route);
    const runId = this.q.scripts.runId();
    const agrees =
      this.#open &&
      state?.run === runId &&
      state.generation === spool.generation &&
      state.head > this.#acked &&
      state.tail >= spool.accepted;
    if (!agrees || spool.unfinished !== null) return;
    this.#recordAck(state.head - 1);
    const from = Math.max(Math.max(0, ...spool.skipped) + 1, this.#acked - back);
    if (from > spool.acked) return;
    spool.replayed = from - 1;
    spool.replayedFrom = from;
    spool.generation += 1;
    spool.accepted = from - 1;
    if (!killed) await this.#look(0);
  }

  /** The operator gives the blocked head up; `killed`: whoever does it dies with the spool's word. */
  async #skip(killed: boolean): Promise<void> {
    const spool = this.#spool;
    const state = await this.q.order.state(this.#route);
    const agrees =
      state !== null &&
      state.generation === spool.generation &&
      state.head > spool.acked &&
      state.tail >= spool.accepted;
    if (!agrees || state.blocked === null || spool.unfinished !== null) return;
    if (spool.replayed !== null) return; // only what was never delivered is given up
    assert.equal(state.blocked, state.head);
    this.#recordAck(state.head - 1);
    spool.acked = spool.unfinished = state.head;
    spool.accepted = Math.max(spool.accepted, state.head);
    spool.skipped.add(state.head);
    this.wire.gaveUp(state.head);
    if (!killed) await this.#finishSkip();
  }

  /** False: somebody sends it at this moment. */
  async #finishSkip(): Promise<boolean> {
    const spool = this.#spool;
    if (spool.unfinished === null) return true;
    const { generation, unfinished } = spool;
    const { answer: expected } = this.model.skip(generation, unfinished);
    const answer = await this.q.order.skip(this.#route, generation, unfinished);
    if (answer.is === 'wait' && expected.is === 'wait') {
      const ms = expected.until - this.model.now;
      assert.ok(answer.ms <= ms && answer.ms > ms - LEASE_MS / 3, `wait ${answer.ms}, not ${ms}`);
      return false;
    }
    assert.deepEqual(answer, expected);
    if (answer.is === 'skipped') this.wire.hearsOfSkip(unfinished, answer.confirmed);
    spool.unfinished = null;
    return true;
  }

  async #opens(how: {
    maxAttempts: number;
    generation: number;
    waitMs: number;
    reset?: { head: number; previous: number };
  }): Promise<void> {
    const request = {
      route: this.#route,
      stream: STREAM,
      intervalMs: 1_000,
      paused: this.#spool.paused,
      // What is replayed is in it already.
      chain: how.reset !== undefined && this.#spool.replayed !== null ? null : this.#spool.chain,
      ...how,
    };
    const expected = this.model.open(request);
    assert.equal(expected.is, 'open');
    assert.deepEqual(await this.q.order.open(request), expected);
  }

  async #openWrongly(as: 'stream' | 'generation' | 'again' | 'back'): Promise<void> {
    const generation = this.model.stored?.generation;
    if (generation === undefined && (as === 'again' || as === 'back')) return;
    const known = generation ?? 1;
    const request = {
      route: this.#route,
      stream: as === 'stream' ? 'b'.repeat(32) : STREAM,
      generation: { stream: known, generation: known + 1, again: known, back: known - 1 }[as],
      waitMs: 0,
      intervalMs: 1,
      maxAttempts: 9,
      ...(as === 'again' || as === 'back' ? { reset: { head: 1, previous: 0 } } : {}),
    };
    const expected = this.model.open(request);
    assert.equal(expected.is, 'differs');
    assert.deepEqual(await this.q.order.open(request), expected);
  }

  async #feed(record: boolean): Promise<void> {
    const sequence = (this.model.stored?.tail ?? 0) + 1;
    this.#spool.last = Math.max(this.#spool.last, sequence);
    const answer = await this.#accepts(this.#job(sequence));
    if (answer === 'closed' || answer === 'foreign') this.#open = false;
    else if (record) this.#spool.accepted = Math.max(this.#spool.accepted, sequence);
  }

  async #accept(offset: number, as: 'right' | 'digest' | 'stream' | 'generation'): Promise<void> {
    const next = (this.model.stored?.tail ?? 0) + 1;
    const sequence = Math.max(1, next + offset);
    const right = this.#job(sequence);
    // Only a batch of the spool is ever offered under a new number.
    if (as === 'digest' && sequence >= next) return;
    if (as === 'right' && sequence === next) {
      this.#spool.last = Math.max(this.#spool.last, sequence);
    }
    await this.#accepts({
      ...right,
      ...(as === 'digest' ? { sha256: 'f'.repeat(64) } : {}),
      ...(as === 'stream' ? { stream: 'b'.repeat(32) } : {}),
      ...(as === 'generation' ? { generation: right.generation + 1 } : {}),
    });
  }

  async #accepts(job: BatchJob): Promise<string> {
    const expected = this.model.accept(job);
    const answer = await this.q.order.accept(job);
    assert.deepEqual(answer, expected);
    return answer.is;
  }

  async #begin(offset: number, generation: number): Promise<void> {
    const job = this.#job(Math.max(1, this.#head + offset), {
      generation: this.#spool.generation + generation,
    });
    this.#holders += 1;
    const holder = `w${this.#holders}`;
    const expected = this.model.begin(job, holder);
    const answer = await this.q.order.begin(job, holder);
    if (answer.is === 'wait' && expected.is === 'wait') {
      const ms = expected.until - this.model.now;
      assert.ok(answer.ms <= ms && answer.ms > ms - LEASE_MS / 3, `wait ${answer.ms}, not ${ms}`);
      return;
    }
    if (answer.is !== 'go') return assert.deepEqual(answer, expected);
    const repeat =
      answer.repeat === null
        ? null
        : { sequence: answer.repeat.job.sequence, previous: answer.repeat.previous };
    assert.deepEqual({ ...answer, repeat }, expected);
    this.#activations.push({ job, holder, chain: answer.chain });
    this.#latest = holder;
    const { previous } = answer;
    this.wire.go(job, holder, this.model.now, previous);
    if (repeat !== null) {
      const before = { head: job.sequence, previous, prior: repeat.previous };
      this.wire.repeats(repeat.sequence, before);
    }
  }

  async #lease(step: Extract<Step, { do: 'renew' | 'release' }>): Promise<void> {
    const what = step.do;
    const { job, holder } = this.#asker(step);
    const expected = this.model[what](job, holder);
    const answer = await this.q.order[what](job, holder);
    assert.equal(answer, expected);
    if (what === 'release') this.wire.left(holder);
    else this.wire.renewed(holder, this.model.now, answer);
  }

  async #fail(step: Extract<Step, { do: 'fail' }>): Promise<void> {
    const { job, holder } = this.#asker(step);
    // While the batch before is owed, it is that one whose commit byte was answered.
    const owed = this.model.stored?.resend === true;
    const expected = this.model.fail(job, holder, step.failure);
    const error = { code: 'X', message: 'x', at: 0 };
    const answer = await this.q.order.fail(job, holder, { error, ...step.failure });
    assert.deepEqual(answer, expected);
    if (step.failure.echoed && !owed && answer.is !== 'stale') this.wire.answered(job.sequence);
    this.wire.left(holder);
  }

  async #ack(step: Asker & { chains: boolean }): Promise<void> {
    const { job, holder, chain: before } = this.#asker(step);
    const chain = step.chains && before ? extended(before, job.sequence, job.sha256) : null;
    const { answer: expected, moved } = this.model.ack(job, holder, chain);
    const answer = await this.q.order.ack(job, holder, chain);
    assert.deepEqual(answer, expected);
    if (answer.is === 'acked') {
      assert.ok(
        this.#latest === null || holder === this.#latest || this.#movedBy.has(holder),
        `${holder} confirmed although ${this.#latest} had taken over`,
      );
    }
    if (moved) {
      this.#movedBy.add(holder);
      this.wire.confirms(job.sequence);
    }
    this.wire.left(holder);
  }

  async #lose(how: 'everything' | 'since the snapshot' | 'nothing'): Promise<void> {
    const snapshot = this.#snapshot;
    if (how === 'nothing') {
      // Another Redis process on the same data.
      if (this.model.stored === null) return;
      this.model.stored.run = OLDER_RUN;
      await this.q.data.hset(this.#hashKey, 'run', 'an-older-run');
      return;
    }
    this.#rewinds = true;
    this.#latest = null;
    this.#seen = { generation: 0, first: 1, head: 0 };
    await this.forget();
    if (how === 'everything' || snapshot === null) return this.model.lose(null);
    this.model.lose(snapshot.model);
    if (Object.keys(snapshot.hash).length > 0) {
      await this.q.data.hset(this.#hashKey, { ...snapshot.hash, run: 'an-older-run' });
      await this.#shiftTimes(this.model.now - snapshot.at);
    }
    if (Object.keys(snapshot.accepted).length > 0) {
      await this.q.data.hset(this.#acceptedKey, snapshot.accepted);
    }
  }

  /** Time passes for Redis when what it wrote down is longer ago. */
  async #shiftTimes(ms: number): Promise<void> {
    const fields = ['lease', 'notBefore'] as const;
    const times = await this.q.data.hmget(this.#hashKey, ...fields);
    for (const [i, field] of fields.entries()) {
      const at = Number(times[i] ?? 0);
      if (at > 0) await this.q.data.hset(this.#hashKey, field, at - ms);
    }
  }

  async #check(): Promise<void> {
    const [raw, keys] = await Promise.all([
      this.q.data.hgetall(this.#hashKey),
      this.q.data.hkeys(this.#acceptedKey),
    ]);
    const held = new Set(keys.map(Number));
    const s = this.model.stored;
    if (s === null) {
      assert.deepEqual([raw, keys], [{}, []]);
      return;
    }
    const { error: _, lease, notBefore: __, ...said } = raw;
    assert.deepEqual(said, {
      stream: s.stream,
      generation: String(s.generation),
      run: s.run === THIS_RUN ? this.q.scripts.runId() : 'an-older-run',
      head: String(s.head),
      tail: String(s.tail),
      previous: String(s.previous),
      prior: String(s.prior),
      holder: s.holder,
      ackHolder: s.ackHolder,
      epoch: String(s.epoch),
      paused: s.paused ? '1' : '0',
      blocked: s.blocked === null ? '' : String(s.blocked),
      attempts: String(s.attempts),
      resend: s.resend ? '1' : '0',
      survived: s.survived ? '1' : '0',
      interval: String(s.interval),
      maxAttempts: String(s.maxAttempts),
      batches: String(s.batches),
      bytes: String(s.bytes),
      repeats: String(s.repeats),
      skipped: String(s.skipped),
      chain: s.chain === null ? '' : chainText(s.chain),
      mayLose: '0', // this Redis syncs always, and has no replicas
    });
    assert.equal(lease === '0', s.lease === 0, 'the lease');
    assert.deepEqual([...held].sort(ascending), [...s.accepted.keys()].sort(ascending));
    this.#checkHash(
      Number(raw['generation']),
      Number(raw['head']),
      Number(raw['tail']),
      Number(raw['previous']),
      held,
    );
  }

  /** Of the real hash, without the model. */
  #checkHash(
    generation: number,
    head: number,
    tail: number,
    previous: number,
    held: ReadonlySet<number>,
  ): void {
    assert.ok(tail >= head - 1, `tail ${tail} fell behind head ${head}`);
    for (let sequence = head; sequence <= tail; sequence += 1) {
      assert.ok(held.has(sequence), `${sequence} is accepted, not confirmed, and gone`);
    }
    if (this.#seen.generation !== generation) {
      assert.ok(generation > this.#seen.generation, 'an older generation is back');
      this.#seen = { generation, first: head, head };
    }
    assert.ok(head >= this.#seen.head, `the head went back from ${this.#seen.head} to ${head}`);
    this.#seen.head = head;
    if (previous >= this.#seen.first) {
      assert.ok(held.has(previous), `${previous} is gone too early`);
    }
  }
}

function ascending(a: number, b: number): number {
  return a - b;
}
