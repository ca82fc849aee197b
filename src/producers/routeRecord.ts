import type { Logger } from 'pino';
import { audit } from '../common/audit.js';
import { FerryError } from '../common/errors.js';
import type { FerryConfig } from '../config/model.js';
import type { RouteState } from '../queue/routeState.js';
import { chainsAgree } from './agreement.js';
import type { BatchStore } from './batchStore.js';
import type { Spool } from './spool/spool.js';
import type { RouteMark } from './spool/types.js';

export interface RouteRecordParts {
  config: FerryConfig;
  spool: Spool;
  store: BatchStore;
  log: Logger;
}

/** What the spool knows of one route, and what it and the audit trail are told about it. */
export class RouteRecord {
  readonly route: string;
  readonly #destination: string;
  readonly #p: RouteRecordParts;
  #chainDiffers = false;

  constructor(parts: RouteRecordParts, route: string, destination: string) {
    this.#p = parts;
    this.route = route;
    this.#destination = destination;
  }

  /** @throws FerryError ROUTE_UNKNOWN: the spool was not told of this route */
  get mark(): RouteMark {
    const mark = this.#p.spool.route(this.#destination);
    if (mark === undefined) {
      throw new FerryError('ROUTE_UNKNOWN', `route ${this.route} is not in the spool`, {
        kind: 'internal',
      });
    }
    return mark;
  }

  /** Redis has chained the digests of what is confirmed to another end than the spool. */
  get chainDiffers(): boolean {
    return this.#chainDiffers;
  }

  /**
   * The spool hears how far the route is confirmed; of a replay also how much that was.
   *
   * @param queued bytes of batches whose size is known, by sequence
   */
  async recordAck(sequence: number, queued?: ReadonlyMap<number, number>): Promise<void> {
    const { spool, store, log } = this.#p;
    const { replay } = this.mark;
    let replayed = 0;
    for (let seq = (replay?.acked ?? sequence) + 1; seq <= sequence; seq += 1) {
      if (replay !== null && seq <= replay.to) {
        replayed += queued?.get(seq) ?? (await store.batch(seq))?.bytes ?? 0;
      }
    }
    await spool.recordAck(this.#destination, sequence, replayed);
    if (replay === null || this.mark.replay !== null) return;
    log.info({ route: this.route, from: replay.from, to: replay.to }, 'replayed');
  }

  /**
   * What the workers have chained, digest by digest, must end where the spool's own chain ends.
   * Said once; the spool is believed, and from the next start on Redis goes on from its chain.
   */
  async compareChains(state: RouteState): Promise<void> {
    const mark = this.mark;
    if (this.#chainDiffers || chainsAgree(mark, state) !== false) return;
    this.#chainDiffers = true;
    const { route } = this;
    const context = { route, through: mark.chain.through };
    const detail = { ...context, spool: mark.chain.head, redis: state.chain?.head };
    await this.audit('chain-differs', detail);
    const err = new FerryError('CHAIN_DIFFERS', `spool and Redis disagree about ${route}`, {
      kind: 'storage',
      hint: `ferry verify ${route} prints a line that shows at the receiver which is right`,
      context,
    });
    this.#p.log.error({ err, ...detail }, 'what Redis says was confirmed is not what was captured');
  }

  async audit(
    event: 'redis-loss' | 'new-stream' | 'foreign-stream' | 'chain-differs',
    detail: Record<string, unknown>,
  ): Promise<void> {
    await audit(this.#p.config.stateDir, { event, route: this.route, detail });
  }
}
