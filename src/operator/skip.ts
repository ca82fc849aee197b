import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FerryError } from '../common/errors.js';
import { parseRouteName, routeName } from '../common/identity.js';
import type { FerryConfig } from '../config/model.js';
import { ruleMatches } from '../config/routes.js';
import { readBootId } from '../producers/capture/bootId.js';
import { keepProducersOut } from '../producers/capture/directoryLock.js';
import { giveUp } from '../producers/giveUp.js';
import { payloadsOf } from '../producers/payloadSource.js';
import { Spool } from '../producers/spool/spool.js';
import { spoolDir, spooledJournals } from '../producers/spoolFiles.js';
import { openQueueAccess, type QueueAccess } from '../queue/access.js';
import { type Ask, Asks, CLAIM_PATIENCE_MS, type GivenUp } from '../queue/asks.js';
import { redisNotRunning } from './notRunning.js';
import { routeNamed } from './routeNames.js';

/** Redis answers within this, also one that has to be started first. */
const REDIS_PATIENCE_MS = 10_000;
/** A large batch is copied, and somebody's lease may have to run out. */
const ANSWER_PATIENCE_MS = 60_000;
const LOOK_MS = 50;
/** Every so many looks: is the producer dead? */
const LOOKS_PER_TRY = 20;

export interface SkipOptions {
  /** The blocked batch; null: all that waits for an orphaned route. */
  sequence: number | null;
  reason: string;
  /** Who says so, for the audit log; default: the user of this process. */
  by?: string;
}

/**
 * Gives up a blocked batch, or an orphaned route. The producer that has the journal does it; where
 * none runs in this state directory, this process does, with the same steps.
 *
 * @throws FerryError as `giveUp`, and REDIS_NOT_RUNNING, ROUTE_UNKNOWN, ROUTE_AMBIGUOUS,
 *   SKIP_NOT_DONE when no producer answers
 */
export async function skip(
  config: FerryConfig,
  log: Logger,
  name: string,
  { sequence, reason, by = userInfo().username }: SkipOptions,
): Promise<{ route: string } & GivenUp> {
  const here = await routesHere(config);
  // Nothing was ever captured here, so there is no server to be started for it either.
  if (config.redis.kind === 'embedded' && here.length === 0) routeNamed(name, []);
  const access = await openQueueAccess(config, log);
  try {
    await redisAnswers(access);
    const everywhere = new Set([...here, ...(await access.order.routes())]);
    const route = routeNamed(name, [...everywhere].sort());
    const ask: Ask = {
      id: randomUUID(),
      what: 'skip',
      ...{ route, sequence, reason, by },
    };
    const alone = here.includes(route)
      ? () => withoutProducer(config, access, ask, log)
      : () => Promise.resolve(null);
    const given = (await alone()) ?? (await askProducer(access, ask, alone));
    return { route, ...given };
  } finally {
    await access.close();
  }
}

/** Routes of the spools in this state directory, those that left the configuration included. */
async function routesHere(config: FerryConfig): Promise<string[]> {
  const routes: string[] = [];
  for (const journal of await spooledJournals(config.stateDir)) {
    const spool = await Spool.readOnly(spoolDir(config.stateDir, journal));
    // One that was dropped by somebody who died on the way counts too.
    const marks = [...(spool?.routes() ?? []), ...(spool?.unfinishedSkips() ?? [])];
    for (const { destination } of marks) routes.push(routeName(journal, destination));
  }
  return routes;
}

async function redisAnswers({ scripts }: QueueAccess): Promise<void> {
  const waiting = new AbortController();
  const tooLong = sleep(REDIS_PATIENCE_MS, true, { signal: waiting.signal }).catch(() => false);
  try {
    await Promise.race([scripts.ready(), tooLong]);
    if (scripts.facts === null) throw scripts.refusal ?? redisNotRunning('Redis does not answer');
  } finally {
    waiting.abort();
  }
}

/** null: a producer runs, and its spools are its own. */
async function withoutProducer(
  config: FerryConfig,
  access: QueueAccess,
  ask: Ask,
  log: Logger,
): Promise<GivenUp | null> {
  const alone = await keepProducersOut(config.stateDir);
  if (alone === null) return null;
  try {
    const { journal, destination } = parseRouteName(ask.route);
    const dir = spoolDir(config.stateDir, journal);
    const spool = await Spool.open(dir, { journal, bootId: await readBootId() });
    try {
      const payloads = payloadsOf(config, access);
      // The configuration may have changed since a producer last looked at it.
      if (!isWanted(config, journal, destination)) await spool.recordOrphaned(destination, true);
      return await giveUp({ config, access, payloads, spool, log }, destination, ask);
    } finally {
      await spool.close();
    }
  } finally {
    await alone.release();
  }
}

/** A route of the configuration, under its present name or one that it had before. */
function isWanted(config: FerryConfig, journal: string, destination: string): boolean {
  const rules = config.journals.filter((rule) =>
    rule.kind === 'path' ? rule.name === journal : ruleMatches(rule, journal),
  );
  return rules.some(({ to }) =>
    to.some(
      ({ destination: name }) =>
        name === destination || config.destinations.get(name)?.was.includes(destination),
    ),
  );
}

/** @param alone carries it out where the producer has died meanwhile; null: it lives */
async function askProducer(
  access: QueueAccess,
  ask: Ask,
  alone: () => Promise<GivenUp | null>,
): Promise<GivenUp> {
  const asks = new Asks(access.scripts, access.keys);
  await asks.put(ask);
  const claimBy = performance.now() + CLAIM_PATIENCE_MS;
  const answerBy = claimBy + ANSWER_PATIENCE_MS;
  let claimed = false;
  for (let looks = 1; ; looks += 1) {
    const answer = await asks.answerTo(ask.id);
    if (answer?.ok) return answer;
    if (answer !== null) {
      const { code, message, kind, hint } = answer;
      throw new FerryError(code, message, { kind, hint });
    }
    const given = looks % LOOKS_PER_TRY === 0 ? await alone() : null;
    if (given !== null) {
      await asks.claim(ask.id); // nobody is to do it again
      return given;
    }
    const now = performance.now();
    if (!claimed && now > claimBy) {
      if (await asks.claim(ask.id)) throw notDone(ask, 'no producer has taken it over');
      claimed = true;
    }
    if (now > answerBy) throw notDone(ask, 'its producer began with it and does not answer');
    await sleep(LOOK_MS);
  }
}

function notDone({ route }: Ask, why: string): FerryError {
  const { journal } = parseRouteName(route);
  return new FerryError('SKIP_NOT_DONE', `not done: ${why}`, {
    kind: 'storage',
    hint: `ferry status shows whether ${route} went on; start the producer of ${journal}, or say it on its host`,
    context: { route },
  });
}
