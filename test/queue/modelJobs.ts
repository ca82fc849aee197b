import assert from 'node:assert/strict';
import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import fc from 'fast-check';
import { FerryError } from '../../src/common/errors.js';
import { NO_METER } from '../../src/common/meter.js';
import type { DestinationConfig } from '../../src/config/model.js';
import { connectRedis } from '../../src/queue/connection.js';
import { PARK_MS } from '../../src/queue/jobQueues.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import { BATCH_QUEUE, batchJobId } from '../../src/queue/keys.js';
import { LEASE_MS } from '../../src/queue/routeOrder.js';
import { skipHead, wakeHead } from '../../src/queue/wake.js';
import { BatchProcessor } from '../../src/workers/batchProcessor.js';
import { Complaints } from '../../src/workers/complaints.js';
import type { Delivery } from '../../src/workers/delivery.js';
import { WorkerStop } from '../../src/workers/workerStop.js';
import { ANY_PLACE } from '../workers/activationParts.js';
import { batch, openRoute, type QueueFixture, STREAM, silent } from './helpers.js';

const ROUTE = 'foo@replica';
/** Nothing that waits for a retry or for a lease sleeps longer. */
const SHORT_MS = 2 * LEASE_MS;

type Click =
  | 'remove'
  | 'promote'
  | 'promote all'
  | 'retry failed'
  | 'retry completed'
  | 'clean delayed'
  | 'clean failed'
  | 'drain';

/** How the next job that BullMQ gives out ends. */
type Outcome = Reply | 'killed in the send' | 'killed after the ack' | 'killed while parking';

type Reply = 'confirmed' | 'refused' | 'unsure' | 'answered';

/** One thing that happens to a route and its jobs; `offset` counts from the head. */
export type JobStep =
  | { do: 'feed'; job: 'as the producer' | 'parked' | 'not yet' }
  | { do: 'run'; outcomes: Outcome[] }
  | { do: 'stalled' }
  | { do: 'click'; what: Click; offset: number }
  | { do: 'hold'; what: 'pause' | 'resume' | 'unblock' }
  | { do: 'pass' }
  | { do: 'lose'; unrecorded: number }
  /** Of a blocked head; or the second half of one that waited for a lease. */
  | { do: 'skip' }
  | { do: 'wake' };

const outcome = fc.constantFrom<Outcome[]>(
  'confirmed',
  'confirmed',
  'refused',
  'unsure',
  'answered',
  'killed in the send',
  'killed after the ack',
  'killed while parking',
);

export const jobSteps: fc.Arbitrary<JobStep[]> = fc.array(
  fc.oneof<{ weight: number; arbitrary: fc.Arbitrary<JobStep> }[]>(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('feed'),
        job: fc.constantFrom('as the producer', 'as the producer', 'parked', 'not yet'),
      }),
    },
    {
      weight: 9,
      arbitrary: fc.record({
        do: fc.constant('run'),
        outcomes: fc.array(outcome, { minLength: 1, maxLength: 4 }),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'stalled' }) },
    {
      weight: 7,
      arbitrary: fc.record({
        do: fc.constant('click'),
        what: fc.constantFrom<Click[]>(
          'remove',
          'remove',
          'promote',
          'promote all',
          'promote all',
          'retry failed',
          'retry completed',
          'clean delayed',
          'clean failed',
          'drain',
        ),
        offset: fc.oneof(fc.constant(0), fc.integer({ min: -1, max: 2 })),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('hold'),
        what: fc.constantFrom('pause', 'resume', 'resume', 'unblock'),
      }),
    },
    { weight: 2, arbitrary: fc.constant({ do: 'pass' }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('lose'), unrecorded: fc.nat(2) }),
    },
    { weight: 2, arbitrary: fc.constant({ do: 'skip' }) },
    { weight: 5, arbitrary: fc.constant({ do: 'wake' }) },
  ),
  { maxLength: 40, size: 'max' },
);

interface Active {
  job: Job<BatchJob>;
  token: string;
}

/** A worker of which each activation is one step of the test, with a destination that obeys. */
export class JobBench {
  readonly #connection;
  readonly #worker: Worker<BatchJob>;
  readonly #processor: BatchProcessor;
  #reply: Reply = 'confirmed';
  #activations = 0;
  /** Jobs whose worker was killed: active until somebody notices. */
  #orphans: Active[] = [];
  #generation = 1;
  #captured = 0;
  /** The destination's last batch, and the last confirmed one. */
  #sent = 0;
  #confirmed = 0;
  #rewound = false;
  /** The destination answered this one, so the one before may never come again. */
  #answered = 0;
  /** The next that must come: a send failed, maybe because the destination died applying this. */
  #owed: number | null = null;
  /** The destination is known to have applied this one, as its repeat was confirmed. */
  #survived = 0;
  #judgeRepeats = false;
  /** Given up by the operator, as the spool knows, and maybe not yet in Redis. */
  #givenUp = 0;

  constructor(private readonly q: QueueFixture) {
    this.#connection = connectRedis(q.target, 'queue');
    this.#connection.on('error', () => undefined);
    this.#worker = new Worker<BatchJob>(BATCH_QUEUE, null, {
      connection: this.#connection,
      prefix: q.keys.tag,
      autorun: false,
      skipVersionCheck: true,
    });
    const delivery = {
      preconnect: () => null,
      sendBatch: async (_to: DestinationConfig, job: BatchJob) => this.#send(job),
    };
    this.#processor = new BatchProcessor({
      meter: NO_METER,
      order: q.order,
      queues: q.queues,
      delivery: delivery as unknown as Delivery,
      stop: new WorkerStop(),
      complaints: new Complaints(),
      log: silent,
      workerId: 'w',
    });
  }

  async close(): Promise<void> {
    await this.#worker.close();
    this.#connection.disconnect();
  }

  /** @param judgeRepeats a repeat that was answered and broke off is still owed */
  async run(
    steps: readonly JobStep[],
    maxAttempts: number,
    { judgeRepeats = false } = {},
  ): Promise<void> {
    this.#judgeRepeats = judgeRepeats;
    await this.q.redis.flushAll();
    this.#orphans = [];
    this.#generation = 1;
    this.#captured = this.#sent = this.#confirmed = 0;
    this.#rewound = false;
    this.#answered = this.#survived = 0;
    this.#owed = null;
    this.#givenUp = 0;
    await this.#open(maxAttempts, 1);
    for (const step of steps) await this.#take(step, maxAttempts);
    await this.#wake();
    await this.#deliverAll();
  }

  async #take(step: JobStep, maxAttempts: number): Promise<void> {
    switch (step.do) {
      case 'feed':
        return this.#feed(step.job);
      case 'run':
        for (const outcome of step.outcomes) await this.#activate(outcome);
        return;
      case 'stalled':
        return this.#recoverOrphans();
      case 'click':
        return this.#click(step.what, step.offset);
      case 'hold':
        await this.q.order.hold(ROUTE, step.what);
        return;
      case 'pass':
        return this.#pass();
      case 'lose':
        return this.#lose(maxAttempts, step.unrecorded);
      case 'skip':
        return this.#skip();
      case 'wake':
        return this.#wake();
    }
  }

  /** As a producer does it: in the spool first, and again until Redis knows it. */
  async #skip(): Promise<void> {
    const { order, queues } = this.q;
    const state = await order.state(ROUTE);
    if (state === null) return;
    const owed = this.#givenUp >= state.head;
    if (!owed && state.blocked !== state.head) return;
    this.#givenUp = state.head;
    const generation = this.#generation;
    const answer = await skipHead(order, queues, {
      route: ROUTE,
      generation,
      sequence: state.head,
    });
    if (answer.is === 'wait') return;
    assert.equal(answer.is, 'skipped');
    this.#sent = Math.max(this.#sent, state.head);
    this.#confirmed = Math.max(this.#confirmed, state.head);
    // Nothing older goes out behind one that was given up, whatever fails after it.
    this.#owed = null;
    this.#survived = this.#confirmed;
    const id = batchJobId(ROUTE, generation, state.head);
    const job = await queues.batches.getJobState(id);
    assert.ok(job === 'unknown' || job === 'active', `the job of what was given up is ${job}`);
  }

  async #open(maxAttempts: number, head: number): Promise<void> {
    const answer = await openRoute(this.q.order, {
      generation: this.#generation,
      intervalMs: 0,
      maxAttempts,
      reset: { head, previous: head - 1 },
    });
    assert.equal(answer.is, 'open');
  }

  #job(sequence: number): BatchJob {
    return batch(sequence, { generation: this.#generation, stream: STREAM });
  }

  async #feed(how: 'as the producer' | 'parked' | 'not yet'): Promise<void> {
    const tail = (await this.q.order.state(ROUTE))?.tail ?? 0;
    const job = this.#job(tail + 1);
    this.#captured = Math.max(this.#captured, job.sequence);
    const answer = await this.q.order.accept(job);
    assert.ok(answer.is === 'accepted');
    if (how === 'not yet') return;
    await this.q.queues.addBatch(job, how === 'parked' || answer.head !== job.sequence);
  }

  /** What a destination sees: the next one, or the same once more, or the one before once more. */
  #send(job: BatchJob): void {
    const { sequence } = job;
    assert.ok(sequence <= this.#confirmed + 1, `${sequence} came after ${this.#confirmed}`);
    if (!this.#rewound) assert.ok(sequence >= this.#confirmed, `${sequence} came back`);
    assert.ok(sequence >= this.#answered, `${sequence} came after the answer to ${this.#answered}`);
    if (this.#owed !== null) assert.equal(sequence, this.#owed, 'the batch before is owed');
    this.#sent = Math.max(this.#sent, sequence);
    const isRepeat = sequence === this.#confirmed;
    if (this.#reply === 'confirmed') {
      this.#confirmed = Math.max(this.#confirmed, sequence);
      this.#owed = null;
      if (isRepeat) this.#survived = sequence;
      else this.#answered = sequence;
      return;
    }
    if (this.#reply === 'answered') {
      if (!isRepeat) this.#answered = sequence;
      else if (!this.#judgeRepeats) {
        this.#owed = null;
        this.#survived = sequence;
      } else if (!this.#rewound) this.#owed = sequence;
    } else if (!isRepeat && !this.#rewound && this.#confirmed > 0) {
      const known = this.#answered === sequence || this.#survived === this.#confirmed;
      if (!known) this.#owed = this.#confirmed;
    }
    throw new FerryError('REFUSED', 'the destination does not want it', {
      kind: 'destination',
      context: {
        afterT: this.#reply === 'unsure' || this.#reply === 'answered',
        echoed: this.#reply === 'answered',
      },
    });
  }

  async #next(): Promise<Active | null> {
    this.#activations += 1;
    const token = `t${this.#activations}`;
    const job = await this.#worker.getNextJob(token, { block: false });
    return job === undefined ? null : { job, token };
  }

  async #activate(outcome: Outcome): Promise<void> {
    const active = await this.#next();
    if (active === null) return;
    if (outcome.startsWith('killed')) return this.#killed(active, outcome);
    this.#reply = outcome as Reply;
    const { job, token } = active;
    try {
      await this.#processor.run(job, token, {} as DestinationConfig, ANY_PLACE);
      await job.moveToCompleted(undefined, token, false);
    } catch (error) {
      if (error instanceof DelayedError) return;
      if (!(error instanceof UnrecoverableError)) throw error;
      await job.moveToFailed(error, token, false);
    }
  }

  /** As far as a worker came that then stood still for ever. */
  async #killed(active: Active, outcome: Outcome): Promise<void> {
    const { job, token } = active;
    const holder = `killed.${token}`;
    const answer = await this.q.order.begin(job.data, holder);
    if (outcome === 'killed while parking' && answer.is === 'park') {
      await job.moveToDelayed(Date.now() + PARK_MS, token);
      return;
    }
    this.#orphans.push(active);
    if (answer.is !== 'go' || outcome === 'killed while parking') return;
    this.#reply = 'confirmed';
    if (outcome === 'killed after the ack') {
      if (answer.repeat !== null) this.#send(answer.repeat.job);
      this.#send(job.data);
      const { is } = await this.q.order.ack(job.data, holder);
      assert.equal(is, 'acked');
    }
  }

  /** BullMQ notices that nobody holds the locks of these jobs, and gives them out again. */
  async #recoverOrphans(): Promise<void> {
    for (const { job, token } of this.#orphans.splice(0)) {
      if ((await job.getState()) === 'active') await job.moveToWait(token);
    }
  }

  async #click(what: Click, offset: number): Promise<void> {
    const { batches } = this.q.queues;
    const head = (await this.q.order.state(ROUTE))?.head ?? 1;
    const id = batchJobId(ROUTE, this.#generation, Math.max(1, head + offset));
    switch (what) {
      case 'remove':
        await batches.remove(id).catch(() => undefined); // an active job is locked
        return;
      case 'promote':
        await this.q.queues.promoteBatch(id);
        return;
      case 'promote all':
        return batches.promoteJobs();
      case 'retry failed':
        return batches.retryJobs({ state: 'failed' });
      case 'retry completed':
        return batches.retryJobs({ state: 'completed' });
      case 'clean delayed':
        await batches.clean(0, 1_000, 'delayed');
        return;
      case 'clean failed':
        await batches.clean(0, 1_000, 'failed');
        return;
      case 'drain':
        return batches.drain(true);
    }
  }

  /** Every lease runs out. */
  async #pass(): Promise<void> {
    const key = this.q.keys.route(ROUTE);
    if (await this.q.data.exists(key)) await this.q.data.hset(key, 'lease', 0, 'notBefore', 0);
  }

  /** Redis lost the route, not its jobs, and the producer opens it anew after the wait. */
  async #lose(maxAttempts: number, unrecorded: number): Promise<void> {
    const state = await this.q.order.state(ROUTE);
    assert.ok(state !== null);
    const recorded = Math.max(this.#givenUp, state.head - 1 - unrecorded);
    this.#confirmed = Math.max(this.#confirmed, recorded);
    this.#sent = Math.max(this.#sent, recorded);
    await this.q.data.del(this.q.keys.route(ROUTE), this.q.keys.batches(ROUTE));
    if (unrecorded === 0) {
      await this.q.queues.removeBatches(ROUTE, this.#generation, state.head, state.tail);
    }
    this.#generation += 1;
    this.#rewound = true;
    this.#answered = this.#survived = 0;
    this.#owed = null;
    await this.#open(maxAttempts, recorded + 1);
  }

  async #wake(): Promise<void> {
    const { order, queues } = this.q;
    await Promise.all([wakeHead(order, queues, ROUTE), wakeHead(order, queues, ROUTE)]);
    const state = await order.state(ROUTE);
    assert.ok(state !== null);
    if (state.paused || state.blocked !== null || state.head > state.tail) return;
    const id = batchJobId(ROUTE, this.#generation, state.head);
    const job = await queues.batches.getJobState(id);
    if (job === 'delayed') {
      const score = Number(await this.q.data.zscore(queues.batches.toKey('delayed'), id));
      assert.ok(score / 4096 < Date.now() + SHORT_MS, `the head ${state.head} is parked`);
    } else {
      assert.ok(job === 'waiting' || job === 'active', `the head ${state.head} is ${job}`);
    }
  }

  /** From wherever it stands, wake-ups and time alone bring every batch over. */
  async #deliverAll(): Promise<void> {
    const { order, queues } = this.q;
    for (;;) {
      const state = await order.state(ROUTE);
      if (state === null || state.tail >= this.#captured) break;
      await this.#feed('as the producer');
    }
    await this.#pass();
    if (this.#givenUp > 0) await this.#skip();
    await order.hold(ROUTE, 'resume');
    await order.hold(ROUTE, 'unblock');
    for (let round = 0; ; round += 1) {
      const state = await order.state(ROUTE);
      assert.ok(state !== null);
      if (state.head > state.tail) break;
      assert.ok(round < 2 * this.#captured + 5, `the head ${state.head} is never delivered`);
      await this.#pass();
      await this.#recoverOrphans();
      await this.#wake();
      // What sleeps shortly wakes by itself; the parked ones do not.
      const id = batchJobId(ROUTE, this.#generation, state.head);
      if ((await queues.batches.getJobState(id)) === 'delayed') await queues.promoteBatch(id);
      let before = -1;
      while (before !== this.#activations) {
        before = this.#activations;
        const waiting = await queues.batches.getWaitingCount();
        for (let n = 0; n < waiting; n += 1) await this.#activate('confirmed');
      }
    }
    assert.equal(this.#confirmed, this.#captured);
    assert.equal(this.#sent, this.#captured);
  }
}
