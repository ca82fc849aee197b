import { beginChain, type Chain, chainText } from '../common/chain.js';
import { isOfDestination } from './destinationTrouble.js';
import { type BatchJob, type BlobJob, type BlobSent, blobKey, blobSentOf } from './jobs.js';
import type { Keys } from './keys.js';
import type {
  AcceptAnswer,
  AckAnswer,
  BeginAnswer,
  BeginBlobAnswer,
  FailAnswer,
  Failure,
  OpenAnswer,
  OpenRequest,
  SkipAnswer,
} from './routeAnswers.js';
import {
  type BlobStates,
  chainOf,
  parseState,
  type RouteError,
  type RouteState,
} from './routeState.js';
import type { ScriptConnection } from './scriptConnection.js';

/**
 * How long a sender may be silent before another takes over. Too short: a paused process causes
 * a needless repeat. Too long: a route waits that long after a worker was killed.
 */
export const LEASE_MS = 15_000;

/**
 * The order of a route, decided by our scripts in Redis.
 *
 *     (no hash) --open--> open --accept--> pending --begin--> sending --ack--> open | pending
 *                                             ^                  |
 *                                             +---fail/release---+--fail--> blocked --begin--> ...
 *                                                                             +--skip--> open | pending
 *
 * `begin` is the one gate to the wire: whatever BullMQ runs, and however often, only the head of
 * an open route passes, and only while nobody else holds the lease. Every answer is spelled out
 * in the header of its script.
 */
export class RouteOrder {
  readonly #scripts: ScriptConnection;
  readonly #keys: Keys;

  constructor(scripts: ScriptConnection, keys: Keys) {
    this.#scripts = scripts;
    this.#keys = keys;
  }

  async open(r: OpenRequest): Promise<OpenAnswer> {
    const [is, a, b] = await this.#run(
      'open',
      [this.#keys.route(r.route), this.#keys.batches(r.route), this.#keys.routes()],
      [
        r.route,
        r.reset === undefined ? 'resume' : 'reset',
        r.stream,
        r.generation,
        this.#scripts.runId(),
        r.reset?.head ?? 0,
        r.reset?.previous ?? r.chain?.through ?? 0,
        r.waitMs,
        r.intervalMs,
        r.maxAttempts,
        r.paused === undefined ? '' : Number(r.paused),
        r.reset?.repeat === undefined ? '' : JSON.stringify(r.reset.repeat.job),
        r.reset?.repeat?.previous ?? 0,
        Number(this.#scripts.facts?.mayLose ?? true),
        r.chain === null
          ? ''
          : chainText(r.chain ?? beginChain(r.reset?.head ?? 1, r.reset?.previous)),
      ],
    );
    return is === 'open'
      ? { is, head: Number(a), tail: Number(b) }
      : { is: 'differs', stream: String(a), generation: String(b) };
  }

  async accept(job: BatchJob): Promise<AcceptAnswer> {
    const [is, a] = await this.#run(
      'accept',
      [this.#keys.route(job.route), this.#keys.batches(job.route)],
      [
        job.stream,
        job.generation,
        this.#scripts.runId(),
        job.sequence,
        job.sha256,
        JSON.stringify(job),
      ],
    );
    if (is === 'accepted' || is === 'duplicate') return { is, head: Number(a) };
    if (is === 'gap') return { is, tail: Number(a) };
    return { is: is as 'closed' | 'foreign' | 'conflict' };
  }

  /**
   * @param holder unique to this activation of the processor: worker, job and a counter
   */
  async begin(job: BatchJob, holder: string): Promise<BeginAnswer> {
    const [is, a, b, c, d, e, f] = await this.#run(
      'begin',
      [this.#keys.route(job.route), this.#keys.batches(job.route)],
      [job.generation, this.#scripts.runId(), job.sequence, holder, LEASE_MS],
    );
    if (is === 'go') {
      return {
        is,
        epoch: Number(a),
        previous: Number(b),
        attempts: Number(c),
        repeat: d === '' ? null : { job: JSON.parse(String(d)) as BatchJob, previous: Number(e) },
        chain: chainOf(String(f), Number(b)),
      };
    }
    if (is === 'wait') return { is, ms: Number(a) };
    return { is: is as 'closed' | 'stale' | 'delivered' | 'park' };
  }

  /** False: another holds the lease now; what is being sent must end. */
  async renew(job: BatchJob, holder: string): Promise<boolean> {
    return this.#lease(job, holder, LEASE_MS);
  }

  /** Gives the lease back without a verdict on the destination (our own stop). */
  async release(job: BatchJob, holder: string): Promise<boolean> {
    return this.#lease(job, holder, 0);
  }

  /** The holder is known to be dead: its lease ends in `ms`, and its send may have been one. */
  async endLease(job: BatchJob, holder: string, ms: number): Promise<boolean> {
    return this.#lease(job, holder, ms);
  }

  async fail(job: BatchJob, holder: string, failure: Failure): Promise<FailAnswer> {
    const [is, a, b] = await this.#run(
      'fail',
      [this.#keys.route(job.route)],
      [
        job.generation,
        job.sequence,
        holder,
        JSON.stringify(failure.error),
        failure.echoed ? 2 : Number(failure.resend),
        Number(failure.counted),
        Number(failure.uncertain),
      ],
    );
    if (is === 'retry') return { is, attempts: Number(a), intervalMs: Number(b) };
    if (is === 'blocked') return { is, attempts: Number(a) };
    return { is: 'stale' };
  }

  /** @param chain of what is then confirmed; null: not known, since `begin` did not know it */
  async ack(job: BatchJob, holder: string, chain: Chain | null = null): Promise<AckAnswer> {
    const [is, head, tail, ...blobs] = await this.#run(
      'ack',
      [
        this.#keys.route(job.route),
        this.#keys.batches(job.route),
        this.#keys.parkedBlobs(job.route),
      ],
      [
        job.generation,
        job.sequence,
        holder,
        job.bytes,
        this.#keys.news(),
        job.route,
        chain === null ? '' : chainText(chain),
      ],
    );
    return is === 'acked'
      ? { is, head: Number(head), tail: Number(tail), blobs: blobs.map(String) }
      : { is: 'stale', head: Number(head) };
  }

  /** The operator gave the head up; its producer has written that down before. */
  async skip(route: string, generation: number, sequence: number): Promise<SkipAnswer> {
    const [is, a, tail, confirmed, ...blobs] = await this.#run(
      'skip',
      [this.#keys.route(route), this.#keys.batches(route), this.#keys.parkedBlobs(route)],
      [generation, sequence, this.#keys.news(), route],
    );
    if (is === 'skipped') {
      return {
        is,
        head: Number(a),
        tail: Number(tail),
        confirmed: confirmed === 1,
        blobs: blobs.map(String),
      };
    }
    if (is === 'wait') return { is, ms: Number(a) };
    if (is === 'behind') return { is, head: Number(a) };
    return { is: 'stale' };
  }

  /** The previous batch was confirmed once more: counted, and not asked for again. */
  async repeated(job: BatchJob, holder: string): Promise<void> {
    await this.#run('repeat', [this.#keys.route(job.route)], [job.generation, holder]);
  }

  /** null: no such route in Redis. */
  async hold(
    route: string,
    what: 'pause' | 'resume' | 'unblock',
  ): Promise<{ head: number; tail: number; generation: number } | null> {
    const [is, head, tail, generation] = await this.#run('hold', [this.#keys.route(route)], [what]);
    if (is !== 'held') return null;
    return { head: Number(head), tail: Number(tail), generation: Number(generation) };
  }

  async beginBlob(blob: BlobJob, jobId: string, holder: string): Promise<BeginBlobAnswer> {
    const [is, a] = await this.#run(
      'beginBlob',
      [
        this.#keys.route(blob.route),
        this.#keys.blobs(blob.route),
        this.#keys.parkedBlobs(blob.route),
      ],
      [
        blob.stream,
        this.#scripts.runId(),
        blobKey(blob.link),
        blob.version,
        blob.follows,
        holder,
        LEASE_MS,
        jobId,
      ],
    );
    if (is === 'go') return { is, intervalMs: Number(a) };
    if (is === 'wait') return { is, ms: Number(a) };
    return { is: is as 'closed' | 'stale' | 'delivered' | 'park' };
  }

  /** False: another holds the blob's lease now. */
  async endBlob(
    blob: BlobJob,
    holder: string,
    what: 'renew' | { release: RouteError | null } | { confirm: BlobSent },
  ): Promise<boolean> {
    const confirmed = typeof what === 'object' && 'confirm' in what ? what.confirm : null;
    const failed = typeof what === 'object' && 'release' in what ? what.release : null;
    const answer = await this.#scripts.run(
      'endBlob',
      [this.#keys.blobs(blob.route)],
      [
        blob.stream,
        blobKey(blob.link),
        holder,
        what === 'renew' ? what : confirmed === null ? 'release' : 'confirm',
        confirmed === null ? LEASE_MS : blob.version,
        this.#keys.news(),
        blob.route,
        confirmed === null && failed === null ? '' : JSON.stringify(confirmed ?? failed),
      ],
    );
    return answer === 1;
  }

  /** null: Redis knows no such route (never opened, or lost). */
  async state(route: string): Promise<RouteState | null> {
    const hash = await this.#scripts.ask((redis) => redis.hgetall(this.#keys.route(route)));
    return parseState(hash);
  }

  /** The batch as it was accepted; null when it is confirmed, forgotten or never came. */
  async accepted(route: string, sequence: number): Promise<BatchJob | null> {
    const raw = await this.#scripts.ask((redis) =>
      redis.hget(this.#keys.batches(route), String(sequence)),
    );
    return raw === null ? null : (JSON.parse(raw) as BatchJob);
  }

  /** Every route that was ever opened in this Redis. */
  async routes(): Promise<string[]> {
    return this.#scripts.ask((redis) => redis.smembers(this.#keys.routes()));
  }

  /** What became of the blobs of this route in this stream. */
  async blobStates(route: string, stream: string): Promise<BlobStates> {
    const states: BlobStates = { confirmed: new Map(), failing: 0 };
    const hash = await this.#scripts.ask((redis) => redis.hgetall(this.#keys.blobs(route)));
    for (const [key, raw] of Object.entries(hash)) {
      const state = JSON.parse(raw) as {
        stream?: string;
        version: number;
        sent?: string;
        error?: string;
      };
      if (state.stream !== stream) continue;
      if (state.error !== undefined && !isOfDestination(codeOf(state.error))) states.failing += 1;
      if (state.sent === undefined) continue;
      states.confirmed.set(key, { version: state.version, sent: blobSentOf(state.sent) });
    }
    return states;
  }

  /** The last error of a blob of this route that is not confirmed since; null when there is none. */
  async blobError(route: string): Promise<RouteError | null> {
    let latest: RouteError | null = null;
    const blobs = await this.#scripts.ask((redis) => redis.hvals(this.#keys.blobs(route)));
    for (const raw of blobs) {
      const { error } = JSON.parse(raw) as { error?: string };
      if (error === undefined) continue;
      const parsed = JSON.parse(error) as RouteError;
      if (latest === null || parsed.at > latest.at) latest = parsed;
    }
    return latest;
  }

  /** Forgets a route whose name is no longer used; its producer has removed its jobs before. */
  async forget(route: string): Promise<void> {
    await this.#scripts.ask(async (redis) => {
      await redis.srem(this.#keys.routes(), route);
      await redis.unlink(
        this.#keys.route(route),
        this.#keys.batches(route),
        this.#keys.blobs(route),
        this.#keys.parkedBlobs(route),
      );
    });
  }

  /** Forgets what is known of blobs whose links are gone. */
  async forgetBlobs(route: string, links: readonly string[]): Promise<void> {
    if (links.length === 0) return;
    const fields = links.map(blobKey);
    await this.#scripts.ask((redis) => redis.hdel(this.#keys.blobs(route), ...fields));
  }

  /** Jobs are gone that somebody removed by hand: producers bring back what they know of. A hint. */
  async askForWaking(): Promise<void> {
    await this.#scripts.ask((redis) => redis.publish(this.#keys.news(), 'wake'));
  }

  async #lease(job: BatchJob, holder: string, ms: number): Promise<boolean> {
    const answer = await this.#scripts.run(
      'renew',
      [this.#keys.route(job.route)],
      [job.generation, holder, ms],
    );
    return answer === 1;
  }

  async #run(
    name: Parameters<ScriptConnection['run']>[0],
    keys: string[],
    args: (string | number)[],
  ): Promise<unknown[]> {
    const answer = await this.#scripts.run(name, keys, args);
    return Array.isArray(answer) ? answer : [answer];
  }
}

function codeOf(error: string): string {
  return (JSON.parse(error) as RouteError).code;
}
