import { asError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import { inTime } from '../common/within.js';
import type { FerryConfig } from '../config/model.js';
import type { QueueAccess } from '../queue/access.js';
import type { StatusReport } from '../status/report.js';
import { readStatus } from '../status/status.js';
import { Throughput } from './throughput.js';

/** Between two looks while somebody watches, and while nobody does. */
const WATCHED_PAUSE_MS = 1_500;
const UNWATCHED_PAUSE_MS = 10_000;
/** Nobody asked for so long: nobody watches. */
const WATCHED_FOR_MS = 15_000;
/** A look at thousands of routes takes a while, and beside it journals are shipped. */
const WATCHED_PAUSE_PER_LOOK = 4;
const UNWATCHED_PAUSE_PER_LOOK = 50;
/** Whoever opens the page waits so long for what is new; then the last look has to do. */
const FRESH_WAIT_MS = 2_000;

/** Looks at every route again and again; what the page shows is its last look. */
export class Overview {
  readonly throughput = new Throughput();
  #report: StatusReport | null = null;
  #askedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<StatusReport> | null = null;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(
    private readonly config: FerryConfig,
    private readonly access: QueueAccess,
    private readonly log: Logger,
  ) {
    this.#schedule(0);
  }

  /** The last look; a fresh one at the beginning and after a verdict, if it does not take long. */
  async report({ fresh = false } = {}): Promise<StatusReport> {
    const wasWatched = this.#isWatched();
    this.#askedAt = performance.now();
    const last = this.#report;
    if (last !== null && wasWatched && !fresh) return last;
    const look = this.#freshLook(fresh);
    if (last === null) return look;
    return inTime(FRESH_WAIT_MS, look, () => last);
  }

  async #freshLook(fresh: boolean): Promise<StatusReport> {
    // One under way may have begun before the verdict.
    if (fresh) await this.#looking?.catch(() => undefined);
    return this.#look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking?.catch(() => undefined);
  }

  #isWatched(): boolean {
    return performance.now() - this.#askedAt < WATCHED_FOR_MS;
  }

  #look(): Promise<StatusReport> {
    if (this.#looking !== null) return this.#looking;
    clearTimeout(this.#timer);
    const begun = performance.now();
    this.#looking = readStatus(this.config, this.log, { access: this.access })
      .then((report) => {
        this.#report = report;
        this.throughput.record(report, performance.now());
        return report;
      })
      .finally(() => {
        this.#looking = null;
        const tookMs = performance.now() - begun;
        const [pauseMs, perLook] = this.#isWatched()
          ? [WATCHED_PAUSE_MS, WATCHED_PAUSE_PER_LOOK]
          : [UNWATCHED_PAUSE_MS, UNWATCHED_PAUSE_PER_LOOK];
        this.#schedule(Math.max(pauseMs, tookMs * perLook));
      });
    return this.#looking;
  }

  #schedule(pauseMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#look().catch((error: unknown) => {
        this.log.warn({ err: asError(error) }, 'the status could not be read');
      });
    }, pauseMs);
  }
}
