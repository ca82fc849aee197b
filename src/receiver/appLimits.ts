import { setTimeout as sleep } from 'node:timers/promises';
import type { ReceiverApp } from '../config/model.js';
import { type Answer, limited } from './answers.js';
import type { StoredBytes } from './storedBytes.js';

/**
 * How far behind its rate an app may be before its requests are refused. Data are read slower
 * meanwhile. Longer: more connections wait here; shorter: more refusals, and retries, for nothing.
 */
const BEHIND_MAX_MS = 10_000;
/** So much may come at once after a pause. */
const BURST_MS = 1_000;
const MINUTE_MS = 60_000;

/** A rate, and how far ahead of it somebody is. Everything is admitted, and paid for by waiting. */
export class Pace {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #now: () => number;
  /** What may come now; negative: what came too early. */
  #level: number;
  #at: number;

  constructor(perMs: number, burst: number, now: () => number = () => performance.now()) {
    this.#perMs = perMs;
    this.#burst = burst;
    this.#now = now;
    this.#level = burst;
    this.#at = now();
  }

  take(amount: number): void {
    this.#refill();
    this.#level -= amount;
  }

  /** Until the rate has caught up with what was taken; 0: it has. */
  behindMs(): number {
    this.#refill();
    return this.#level >= 0 ? 0 : -this.#level / this.#perMs;
  }

  /** Until so much may be taken. */
  untilMs(amount: number): number {
    this.#refill();
    return Math.max(0, (amount - this.#level) / this.#perMs);
  }

  #refill(): void {
    const now = this.#now();
    this.#level = Math.min(this.#burst, this.#level + (now - this.#at) * this.#perMs);
    this.#at = now;
  }
}

/** What one app may send: its rates, and the room on disk. Shared by all of its connections. */
export class AppLimits {
  readonly #bytes: Pace | null;
  readonly #requests: Pace | null;
  /** Null: no limit. */
  readonly room: StoredBytes | null;

  constructor(limits: ReceiverApp['limits'], room: StoredBytes | null) {
    const { bytesPerSecond, requestsPerMinute } = limits;
    this.#bytes =
      bytesPerSecond === null
        ? null
        : new Pace(bytesPerSecond / 1_000, (bytesPerSecond * BURST_MS) / 1_000);
    this.#requests =
      requestsPerMinute === null
        ? null
        : new Pace(requestsPerMinute / MINUTE_MS, requestsPerMinute);
    this.room = room;
  }

  /** Counts one request. @returns how it is refused; null: it may come */
  admit(): Answer | null {
    const wait = this.#requests?.untilMs(1) ?? 0;
    if (wait > 0) return limited('too-many-requests', wait);
    const behind = this.#bytes?.behindMs() ?? 0;
    if (behind > BEHIND_MAX_MS) return limited('too-many-bytes', behind);
    this.#requests?.take(1);
    return null;
  }

  /** Waits until so many bytes more keep to the rate, or until the connection has ended. */
  async pace(bytes: number, ended: Pick<AbortController, 'signal'>): Promise<void> {
    if (this.#bytes === null) return;
    this.#bytes.take(bytes);
    const behind = this.#bytes.behindMs();
    if (behind > 0) await sleep(behind, undefined, { signal: ended.signal }).catch(() => undefined);
  }
}
