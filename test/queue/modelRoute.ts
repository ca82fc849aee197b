import assert from 'node:assert/strict';
import { beginChain, type Chain } from '../../src/common/chain.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import type {
  AcceptAnswer,
  AckAnswer,
  FailAnswer,
  Failure,
  OpenAnswer,
  OpenRequest,
  SkipAnswer,
} from '../../src/queue/routeAnswers.js';
import { LEASE_MS } from '../../src/queue/routeOrder.js';

/** `wait` without its time, which depends on the machine. */
export type ModelBeginAnswer =
  | {
      is: 'go';
      epoch: number;
      previous: number;
      attempts: number;
      repeat: { sequence: number; previous: number } | null;
      chain: Chain | null;
    }
  | { is: 'closed' | 'stale' | 'delivered' | 'park' }
  | { is: 'wait'; until: number };

export type ModelSkipAnswer = Exclude<SkipAnswer, { is: 'wait' }> | { is: 'wait'; until: number };

/** What Redis holds of a route; times in ms of the model's clock. */
interface Stored {
  stream: string;
  generation: number;
  run: string;
  head: number;
  tail: number;
  previous: number;
  prior: number;
  holder: string;
  ackHolder: string;
  epoch: number;
  lease: number;
  notBefore: number;
  paused: boolean;
  blocked: number | null;
  attempts: number;
  resend: boolean;
  survived: boolean;
  interval: number;
  maxAttempts: number;
  batches: number;
  bytes: number;
  repeats: number;
  skipped: number;
  /** As its holders say; null: not known to them. */
  chain: Chain | null;
  accepted: Map<number, BatchJob>;
}

/** The present Redis run, and the one before it, as the model calls them. */
export const THIS_RUN = 'this';
export const OLDER_RUN = 'older';

/** Says what Redis ought to answer, step by step, as the headers of the scripts promise. */
export class RouteModel {
  now = 0;
  stored: Stored | null = null;

  snapshot(): { stored: Stored | null } {
    return { stored: copy(this.stored) };
  }

  /** Redis forgot, or came back with what it knew at the snapshot. */
  lose(to: { stored: Stored | null } | null): void {
    this.stored = copy(to?.stored ?? null);
    if (this.stored !== null) this.stored.run = OLDER_RUN;
  }

  open(r: OpenRequest): OpenAnswer {
    const before = this.stored;
    const differs = {
      is: 'differs',
      stream: before?.stream ?? '',
      generation: String(before?.generation ?? ''),
    } as const;
    if (r.reset === undefined) {
      if (before?.stream !== r.stream || before.generation !== r.generation) return differs;
    } else if (before?.stream === r.stream && before.generation >= r.generation) {
      return differs;
    }
    const s: Stored =
      r.reset === undefined && before !== null ? before : this.#fresh(r, before, r.reset);
    s.run = THIS_RUN;
    s.interval = r.intervalMs;
    s.maxAttempts = r.maxAttempts;
    const wait = r.waitMs > 0 ? this.now + r.waitMs : 0;
    if (r.reset !== undefined) {
      // Whoever has the lease loses it, and may be sending until its end.
      s.notBefore = Math.max(wait, before?.lease ?? 0, before?.notBefore ?? 0);
    } else if (wait > 0) s.notBefore = wait;
    if (r.paused !== undefined) s.paused = r.paused;
    // What the spool knows is believed where it stands at the same batch.
    const chain = r.chain === undefined ? beginChain(1) : r.chain;
    if (s.previous === (r.reset?.previous ?? chain?.through ?? 0)) s.chain = chain;
    this.stored = s;
    return { is: 'open', head: s.head, tail: s.tail };
  }

  #fresh(
    r: OpenRequest,
    before: Stored | null,
    reset: NonNullable<OpenRequest['reset']> = { head: 1, previous: 0 },
  ): Stored {
    const { repeat } = reset;
    return {
      stream: r.stream,
      generation: r.generation,
      run: THIS_RUN,
      head: reset.head,
      tail: reset.head - 1,
      previous: reset.previous,
      prior: repeat?.previous ?? 0,
      holder: '',
      ackHolder: '',
      epoch: before?.epoch ?? 0,
      lease: 0,
      notBefore: before?.notBefore ?? 0,
      paused: before?.paused ?? false,
      blocked: null,
      attempts: 0,
      resend: repeat !== undefined,
      survived: false,
      interval: r.intervalMs,
      maxAttempts: r.maxAttempts,
      batches: before?.batches ?? 0,
      bytes: before?.bytes ?? 0,
      repeats: before?.repeats ?? 0,
      skipped: reset.head - 1,
      chain: null,
      accepted: new Map(repeat === undefined ? [] : [[reset.previous, repeat.job]]),
    };
  }

  accept(job: BatchJob): AcceptAnswer {
    const s = this.stored;
    if (s === null || s.run !== THIS_RUN) return { is: 'closed' };
    if (s.stream !== job.stream || s.generation !== job.generation) return { is: 'foreign' };
    if (job.sequence <= s.tail) {
      const known = s.accepted.get(job.sequence);
      if (known !== undefined && known.sha256 !== job.sha256) return { is: 'conflict' };
      return { is: 'duplicate', head: s.head };
    }
    if (job.sequence > s.tail + 1) return { is: 'gap', tail: s.tail };
    s.tail = job.sequence;
    s.accepted.set(job.sequence, job);
    return { is: 'accepted', head: s.head };
  }

  begin(job: BatchJob, holder: string): ModelBeginAnswer {
    const s = this.stored;
    if (s === null) return { is: 'closed' };
    if (s.generation !== job.generation) return { is: 'stale' };
    if (s.run !== THIS_RUN) return { is: 'closed' };
    if (job.sequence < s.head) return { is: 'delivered' };
    if (job.sequence > s.head || job.sequence > s.tail || s.paused) return { is: 'park' };
    const until = Math.max(s.lease, s.notBefore);
    if (until > this.now) return { is: 'wait', until };
    if (s.blocked !== null) {
      s.blocked = null;
      s.attempts = 0;
    }
    // Its last holder fell silent, maybe after its commit byte.
    if (s.holder !== '') s.repeats += 1;
    s.epoch += 1;
    s.holder = holder;
    s.lease = this.now + LEASE_MS;
    const again = s.resend && s.previous > 0 ? s.accepted.get(s.previous) : undefined;
    return {
      is: 'go',
      epoch: s.epoch,
      previous: s.previous,
      attempts: s.attempts,
      repeat: again === undefined ? null : { sequence: again.sequence, previous: s.prior },
      chain: s.chain?.through === s.previous ? s.chain : null,
    };
  }

  renew(job: BatchJob, holder: string): boolean {
    const s = this.#held(job, holder);
    if (s === null) return false;
    s.lease = this.now + LEASE_MS;
    return true;
  }

  release(job: BatchJob, holder: string): boolean {
    const s = this.#held(job, holder);
    if (s === null) return false;
    giveBack(s);
    return true;
  }

  repeated(job: BatchJob, holder: string): void {
    const s = this.#held(job, holder);
    if (s === null) return;
    s.resend = false;
    s.repeats += 1;
  }

  fail(job: BatchJob, holder: string, f: Omit<Failure, 'error'>): FailAnswer {
    const s = this.#held(job, holder);
    if (s === null || s.head !== job.sequence) return { is: 'stale' };
    giveBack(s);
    if (f.counted) s.attempts += 1;
    if (f.echoed) {
      s.survived = true;
      s.resend = false;
    } else if (f.resend && !s.survived) {
      s.resend = true;
    }
    if (f.uncertain) s.repeats += 1;
    if (f.counted && s.maxAttempts > 0 && s.attempts >= s.maxAttempts) {
      s.blocked = job.sequence;
      return { is: 'blocked', attempts: s.attempts };
    }
    return { is: 'retry', attempts: s.attempts, intervalMs: s.interval };
  }

  /** `moved`: this answer, not an earlier one, moved the route on. */
  ack(job: BatchJob, holder: string, chain: Chain | null): { answer: AckAnswer; moved: boolean } {
    const s = this.stored;
    if (s === null) return { answer: { is: 'stale', head: 0 }, moved: false };
    const asked = s.generation === job.generation && s.ackHolder === holder;
    if (asked && s.head === job.sequence + 1) {
      return { answer: { is: 'acked', head: s.head, tail: s.tail, blobs: [] }, moved: false };
    }
    if (this.#held(job, holder) === null || s.head !== job.sequence) {
      return { answer: { is: 'stale', head: s.head }, moved: false };
    }
    giveBack(s);
    s.head += 1;
    s.accepted.delete(s.previous);
    s.prior = s.previous;
    s.previous = job.sequence;
    s.ackHolder = holder;
    s.chain = chain;
    s.attempts = 0;
    s.resend = false;
    s.survived = false;
    s.batches += 1;
    s.bytes += job.bytes;
    return { answer: { is: 'acked', head: s.head, tail: s.tail, blobs: [] }, moved: true };
  }

  /** `moved`: this answer, not an earlier one, moved the route on. */
  skip(generation: number, sequence: number): { answer: ModelSkipAnswer; moved: boolean } {
    const s = this.stored;
    if (s === null || s.generation !== generation) return { answer: { is: 'stale' }, moved: false };
    if (s.head < sequence) return { answer: { is: 'behind', head: s.head }, moved: false };
    const moved = s.head === sequence;
    if (moved) {
      if (s.lease > this.now) return { answer: { is: 'wait', until: s.lease }, moved: false };
      giveBack(s);
      s.head += 1;
      s.blocked = null;
      s.attempts = 0;
      s.resend = false;
      s.survived = true;
      s.skipped = sequence;
      s.accepted.delete(sequence);
    }
    const { head, tail } = s;
    const confirmed = s.skipped < sequence;
    return { answer: { is: 'skipped', head, tail, confirmed, blobs: [] }, moved };
  }

  hold(what: 'pause' | 'resume' | 'unblock'): { head: number; tail: number } | null {
    const s = this.stored;
    if (s === null) return null;
    if (what === 'unblock') {
      s.blocked = null;
      s.attempts = 0;
    } else s.paused = what === 'pause';
    return { head: s.head, tail: s.tail };
  }

  #held(job: BatchJob, holder: string): Stored | null {
    const s = this.stored;
    return s !== null && s.generation === job.generation && s.holder === holder ? s : null;
  }
}

function giveBack(s: Stored): void {
  s.holder = '';
  s.lease = 0;
}

function copy(stored: Stored | null): Stored | null {
  return stored === null ? null : { ...stored, accepted: new Map(stored.accepted) };
}

interface Sender {
  job: BatchJob;
  holder: string;
  /** ms of the model's clock. */
  until: number;
}

/**
 * What the destination of one route may see, told only by answers to senders: it knows nothing of
 * how Redis decides, and judges the guarantee.
 */
export class Wire {
  /** Everything through this was confirmed or given up at some time. */
  passed = 0;
  /** The highest that a receiver of ours holds. */
  #held = 0;
  readonly #confirmed = new Set<number>();
  readonly #givenUp = new Set<number>();
  /** Who may still send. */
  #senders: Sender[] = [];
  /** What was sent last, commit byte or not. */
  #last = 0;
  /** The sequence that must come next after a loss of Redis; null: there was none. */
  #rewoundTo: number | null = null;
  /** Given up at the block that Redis came back with; until it hears of it a click may retry it. */
  #skipUnheard: number | null = null;
  /** The highest that the destination answered since the last loss: it had ended what was before. */
  #answered = 0;

  /** `go` was answered. */
  go(job: BatchJob, holder: string, now: number, previous: number): void {
    assert.ok(previous <= this.#held || job.sequence <= this.#held, 'a receiver would see a gap');
    for (let before = previous + 1; before < job.sequence; before += 1) {
      assert.ok(this.#givenUp.has(before), `${before} is neither delivered nor given up`);
    }
    const others = this.#senders.filter((sender) => sender.until > now);
    assert.deepEqual(
      others.map((sender) => sender.holder),
      [],
      `${holder} was let on the wire while another was on it`,
    );
    assert.ok(
      job.sequence <= this.passed + 1,
      `${job.sequence} was let on the wire, but only ${this.passed} is passed`,
    );
    if (this.#rewoundTo !== null) {
      const isRetry = job.sequence === this.#skipUnheard && job.sequence === this.#last;
      const expected = isRetry ? job.sequence : this.#rewoundTo;
      assert.equal(job.sequence, expected, 'another batch than the one Redis is back at');
      this.#rewoundTo = null;
    } else if (job.sequence !== this.#last) {
      assert.equal(job.sequence, this.#last + 1, 'neither a direct repeat nor the next one');
    }
    this.#last = job.sequence;
    this.#senders = [{ job, holder, until: now + LEASE_MS }];
  }

  /** The operator has everything from there sent again, in order. */
  replays(head: number): void {
    assert.ok(head <= this.passed, `${head} was never delivered`);
    this.#rewoundTo = head;
    this.#skipUnheard = null;
    this.#answered = 0;
  }

  /** @param recorded last sequence whose ack the spool remembers */
  rewound(head: number, recorded: number): void {
    assert.ok(
      head > recorded,
      `${head} would be sent again, though the ack of ${recorded} is known`,
    );
    assert.ok(head <= this.passed + 1, `${head} would come before ${this.passed + 1}`);
    this.#rewoundTo = head;
    this.#skipUnheard = null;
    this.#answered = 0;
  }

  /** The confirmed batch before the head is sent once more, in front of it. */
  repeats(sequence: number, before: { head: number; previous: number; prior: number }): void {
    assert.equal(sequence, before.previous, 'another batch than the last confirmed is repeated');
    assert.ok(this.#confirmed.has(sequence), `${sequence} is repeated, but was never confirmed`);
    for (let between = sequence + 1; between < before.head; between += 1) {
      assert.fail(`${sequence} is repeated behind ${between}, which may have been applied`);
    }
    for (let gap = before.prior + 1; gap < sequence; gap += 1) {
      assert.ok(this.#givenUp.has(gap), `${gap} would be left out before the repeat`);
    }
    assert.ok(
      sequence >= this.#answered,
      `${sequence} is sent again although the destination answered ${this.#answered}`,
    );
  }

  /** The destination answered the commit byte of this one. */
  answered(sequence: number): void {
    this.#answered = Math.max(this.#answered, sequence);
  }

  confirms(sequence: number): void {
    assert.ok(sequence <= this.passed + 1, `${sequence} was confirmed before its turn`);
    this.passed = Math.max(this.passed, sequence);
    this.#held = Math.max(this.#held, sequence);
    this.#confirmed.add(sequence);
    // Redis is back at a state in which this holder had the lease already.
    if (this.#rewoundTo === sequence) this.#rewoundTo = sequence + 1;
    this.answered(sequence);
  }

  /** The spool knows that the operator gave it up. */
  gaveUp(sequence: number): void {
    assert.ok(sequence <= this.passed + 1, `${sequence} is given up before its turn`);
    this.passed = Math.max(this.passed, sequence);
    this.#givenUp.add(sequence);
    // Redis came back with the block at which it is given up: it need not be sent before the next.
    if (this.#rewoundTo !== sequence) return;
    this.#rewoundTo = sequence + 1;
    this.#skipUnheard = sequence;
  }

  /** Redis is told of it; `confirmed`: it says that somebody was faster. */
  hearsOfSkip(sequence: number, confirmed: boolean): void {
    assert.ok(!confirmed || this.#confirmed.has(sequence), `${sequence} was never confirmed`);
    this.#skipUnheard = null;
  }

  renewed(holder: string, now: number, answer: boolean): void {
    const sender = this.#sender(holder);
    if (sender === undefined || sender.until <= now) return; // it stopped by itself
    sender.until = answer ? now + LEASE_MS : now;
  }

  /** The holder is through: confirmed, failed, or given up. */
  left(holder: string): void {
    this.#senders = this.#senders.filter((sender) => sender.holder !== holder);
  }

  #sender(holder: string): Sender | undefined {
    return this.#senders.find((sender) => sender.holder === holder);
  }
}
