import type { StatusReport } from './report.js';

/** How fast a route delivers. */
export interface Rate {
  batchesPerSecond: number;
  bytesPerSecond: number;
}

/** Between two looks at the same routes. */
export class Rates {
  #before: { atMs: number; report: StatusReport } | null = null;

  /**
   * What was delivered since the look before, per second and by route; null at the first look.
   *
   * @param atMs `performance.now()` of the look
   */
  since(report: StatusReport, atMs: number): ReadonlyMap<string, Rate> | null {
    const before = this.#before;
    this.#before = { atMs, report };
    if (before === null) return null;
    const seconds = Math.max(atMs - before.atMs, 1) / 1000;
    const former = new Map(before.report.routes.map((route) => [route.route, route]));
    const rates = new Map<string, Rate>();
    for (const { route, deliveredBatches, deliveredBytes } of report.routes) {
      const then = former.get(route);
      // A counter that went back is another's: of a new stream, or seen without Redis.
      const per = (now: number, was: number | undefined): number =>
        was === undefined ? 0 : Math.max(0, now - was) / seconds;
      rates.set(route, {
        batchesPerSecond: round(per(deliveredBatches, then?.deliveredBatches)),
        bytesPerSecond: round(per(deliveredBytes, then?.deliveredBytes)),
      });
    }
    return rates;
  }
}

function round(rate: number): number {
  return Math.round(rate * 10) / 10;
}
