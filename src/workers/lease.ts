import { FerryError } from '../common/errors.js';

/**
 * The worker stops this long before its lease ends: a commit byte written then still travels.
 * Too small: it could arrive after another worker began. Too large: work ends needlessly early.
 */
export const LEASE_MARGIN_MS = 2_000;

export interface LeaseOptions {
  leaseMs: number;
  /**
   * `performance.now()` taken **before** the lease was asked for. Started at the reply, a process
   * that was paused in between would trust a lease that is over.
   */
  startedAt: number;
  /** Asks Redis for another `leaseMs`; false: somebody else holds it now. Rejects: Redis is away. */
  renew: () => Promise<boolean>;
  now?: () => number;
  /** The wall clock, which goes on while a machine is suspended. */
  wallNow?: () => number;
}

/**
 * Holds the right to send while the attempt lasts.
 *
 *     asked for --hold()--> held
 *     held --renewed--> held        (every third of the lease)
 *     held --refused--> lost        another holder: stop at once
 *     held --Redis away, end near--> lost
 *     held --stop()--> given back
 *     held --abort()--> ended by the process's own stop
 *     asked for --abort()--> refused: what was begun meanwhile ends
 *
 * `signal` aborts on `lost` and on `abort()`: one signal for all that may end an attempt, since each
 * further one, and each that follows two others, is felt in a small batch. `isValid` is what counts
 * right before the commit byte, because a process that was paused learns of the time only when it
 * looks.
 */
export class Lease {
  readonly #controller = new AbortController();
  readonly #options: LeaseOptions;
  readonly #now: () => number;
  readonly #wallNow: () => number;
  #validUntil: number;
  #wallValidUntil: number;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #lost = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#wallNow = options.wallNow ?? Date.now;
    this.#validUntil = options.startedAt + options.leaseMs - LEASE_MARGIN_MS;
    this.#wallValidUntil = this.#wallNow() + (this.#validUntil - this.#now());
  }

  /** Redis gave it: it is renewed from here on. */
  hold(): void {
    this.#schedule();
  }

  /** Aborts, with a FerryError LEASE_LOST as reason when the right to send is gone. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  isValid(): boolean {
    // Either clock ends it: one stands still in a suspended machine, the other may be set.
    return !this.#lost && this.#now() < this.#validUntil && this.#wallNow() < this.#wallValidUntil;
  }

  /** Ends what is being sent: this process stops, or Redis refused. Renewing goes on until `stop`. */
  abort(): void {
    if (!this.#stopped) this.#controller.abort();
  }

  /** Ends renewing; says nothing to Redis. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    const pause = Math.min(this.#options.leaseMs / 3, Math.max(0, this.#validUntil - this.#now()));
    this.#timer = setTimeout(() => void this.#renew(), pause);
  }

  async #renew(): Promise<void> {
    if (this.#stopped) return;
    const asked = this.#now();
    if (asked >= this.#validUntil) {
      this.#lose('it could not be renewed in time');
      return;
    }
    // The end of the lease must be noticed even while the question is under way.
    this.#timer = setTimeout(() => this.#lose('Redis did not answer'), this.#validUntil - asked);
    try {
      const renewed = await this.#options.renew();
      clearTimeout(this.#timer);
      if (this.#stopped) return;
      if (!renewed) {
        this.#lose('another worker holds it');
        return;
      }
      this.#validUntil = asked + this.#options.leaseMs - LEASE_MARGIN_MS;
      this.#wallValidUntil = this.#wallNow() + (this.#validUntil - this.#now());
      this.#schedule();
    } catch {
      clearTimeout(this.#timer);
      if (this.#stopped) return;
      // Redis is away: the lease still holds until its end; ask again soon.
      this.#timer = setTimeout(() => void this.#renew(), RENEW_AGAIN_MS);
    }
  }

  #lose(why: string): void {
    if (this.#stopped || this.#lost) return;
    this.#lost = true;
    this.#controller.abort(
      new FerryError('LEASE_LOST', `the lease of this route ended: ${why}`, { kind: 'redis' }),
    );
  }
}

const RENEW_AGAIN_MS = 500;
