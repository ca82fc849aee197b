import type { StatusReport } from '../status/report.js';

/** What the sparklines show. */
const WINDOW_MS = 5 * 60_000;
const SAMPLE_MS = 5_000;

/** Bytes that were delivered on a route until a moment, `performance.now()`. */
export interface Sample {
  atMs: number;
  bytes: number;
}

/** Samples of what every route delivered in the last minutes. */
export class Throughput {
  readonly windowMs = WINDOW_MS;
  #samples = new Map<string, Sample[]>();

  record({ routes }: StatusReport, atMs: number): void {
    const samples = new Map<string, Sample[]>();
    for (const { route, deliveredBytes } of routes) {
      const kept = (this.#samples.get(route) ?? []).filter((s) => s.atMs > atMs - WINDOW_MS);
      const [before, last] = kept.slice(-2);
      if (before !== undefined && last !== undefined) {
        // The last one moves on until it is a sample's length away from the one before, and for as
        // long as nothing is delivered: thousands of idle routes cost next to nothing.
        const isNear = last.atMs - before.atMs < SAMPLE_MS;
        const isIdle = before.bytes === last.bytes && last.bytes === deliveredBytes;
        if (isNear || isIdle) kept.pop();
      }
      kept.push({ atMs, bytes: deliveredBytes });
      samples.set(route, kept);
    }
    // Routes that are gone are forgotten.
    this.#samples = samples;
  }

  of(route: string): readonly Sample[] {
    return this.#samples.get(route) ?? [];
  }
}
