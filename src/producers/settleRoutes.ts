import type { Logger } from 'pino';
import { audit } from '../common/audit.js';
import { routeName } from '../common/identity.js';
import type { FerryConfig, JournalConfig } from '../config/model.js';
import { finishSkips } from './giveUp.js';
import { retireRoute } from './retire.js';
import type { Spool } from './spool/spool.js';

/**
 * Makes the spool's routes those of the configuration: new, renamed, orphaned, back again. Each
 * change is in the audit log.
 */
export async function settleRoutes(
  { config, journal, log }: { config: FerryConfig; journal: JournalConfig; log: Logger },
  spool: Spool,
): Promise<void> {
  const note = (event: 'route-added' | 'route-orphaned' | 'route-renamed', destination: string) =>
    audit(config.stateDir, { event, route: routeName(journal.name, destination) });
  const wanted = new Set(journal.to.map(({ destination }) => destination));
  for (const { destination, start } of journal.to) {
    for (const was of config.destinations.get(destination)?.was ?? []) {
      if (spool.route(destination) !== undefined || spool.route(was) === undefined) continue;
      await spool.renameRoute(was, destination);
      await note('route-renamed', destination);
    }
    if (spool.route(destination) === undefined) {
      const isFirst = spool.lastSequence === 0;
      await spool.addRoute(destination, { after: spool.lastSequence });
      if (start === 'paused') await spool.recordVerdict(destination, { kind: 'pause' });
      if (!isFirst) await note('route-added', destination);
    }
    await spool.recordOrphaned(destination, false);
  }
  for (const mark of [...spool.routes()]) {
    if (wanted.has(mark.destination) || mark.orphaned) continue;
    await spool.recordOrphaned(mark.destination, true);
    await note('route-orphaned', mark.destination);
    log.warn(
      { route: routeName(journal.name, mark.destination) },
      'the route left the configuration; it goes on being captured for, unsent, until it is dropped or put back',
    );
  }
}

/**
 * A route that left the configuration is not sent any more: what Redis has of it goes away.
 *
 * @param fed destinations of the routes that have a feed, which looks after them itself
 * @throws FerryError as `retireRoute` and `finishSkips`
 */
export async function retireOrphans(
  parts: Parameters<typeof retireRoute>[0] & Parameters<typeof finishSkips>[0],
  journal: string,
  fed: ReadonlySet<string>,
): Promise<void> {
  const { spool } = parts;
  for (const { destination, orphaned } of spool.routes()) {
    if (!orphaned) continue;
    await retireRoute(parts, journal, destination, destination);
  }
  // A kill may have come between the operator's word and its end, for routes that have no feed.
  for (const { destination } of [...spool.unfinishedVerdicts()]) {
    if (!fed.has(destination)) await finishSkips(parts, destination);
  }
}
