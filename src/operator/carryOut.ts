import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FerryError } from '../common/errors.js';
import { parseRouteName, routeName } from '../common/identity.js';
import type { FerryConfig, JournalConfig } from '../config/model.js';
import { resolveJournal, ruleMatches } from '../config/routes.js';
import { BatchStore } from '../producers/batchStore.js';
import { readBootId } from '../producers/capture/bootId.js';
import { keepProducersOut } from '../producers/capture/directoryLock.js';
import { carryOut } from '../producers/carryOut.js';
import { payloadsOf } from '../producers/payloadSource.js';
import { verifyReplay } from '../producers/replay.js';
import { RouteFeed } from '../producers/routeFeed.js';
import { Spool } from '../producers/spool/spool.js';
import { spoolDir, spooledJournals } from '../producers/spoolFiles.js';
import { openQueueAccess, type QueueAccess } from '../queue/access.js';
import { type Ask, Asks, CLAIM_PATIENCE_MS, type Done } from '../queue/asks.js';
import { redisAnswers } from './notRunning.js';
import { routeNamed } from './routeNames.js';

/** Redis answers within this, also one that has to be started first. */
const REDIS_PATIENCE_MS = 10_000;
/** A large batch is copied, and somebody's lease may have to run out. */
const ANSWER_PATIENCE_MS = 60_000;
const LOOK_MS = 50;
/** Every so many looks: is the producer dead? */
const LOOKS_PER_TRY = 20;

/** An ask before it is known who is asked what about which route. */
export type Wish<A extends Ask> = Omit<A, 'id' | 'route' | 'by'>;

/** Where it is done while no producer runs. */
interface Bench<A extends Ask> {
  config: FerryConfig;
  access: QueueAccess;
  ask: A;
  log: Logger;
}

/**
 * Has something done that only the writer of a spool may do. The producer that has the journal does
 * it; where none runs in this state directory, this process does, with the same steps.
 *
 * @param by who says so, for the audit log; default: the user of this process
 * @param patienceMs beyond a minute, for a producer that has much to read
 * @throws FerryError as `carryOut` of the producer, and REDIS_NOT_RUNNING, ROUTE_UNKNOWN,
 *   ROUTE_AMBIGUOUS, SKIP_NOT_DONE or REPLAY_NOT_DONE when no producer answers
 */
export async function haveDone<A extends Ask>(
  config: FerryConfig,
  log: Logger,
  name: string,
  wish: Wish<A>,
  { by = userInfo().username, patienceMs = 0 }: { by?: string; patienceMs?: number } = {},
): Promise<{ route: string } & Done<A>> {
  const here = await routesHere(config);
  // Nothing was ever captured here, so there is no server to be started for it either.
  if (config.redis.kind === 'embedded' && here.length === 0) routeNamed(name, []);
  const access = await openQueueAccess(config, log);
  try {
    await redisAnswers(access.scripts, REDIS_PATIENCE_MS);
    const everywhere = new Set([...here, ...(await access.order.routes())]);
    const route = routeNamed(name, [...everywhere].sort());
    const ask = { ...wish, id: randomUUID(), route, by } as unknown as A;
    const alone = here.includes(route)
      ? () => withoutProducer({ config, access, ask, log })
      : () => Promise.resolve(null);
    const done = (await alone()) ?? (await askProducer(access, ask, alone, patienceMs));
    return { route, ...(done as Done<A>) };
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
    const marks = [...(spool?.routes() ?? []), ...(spool?.unfinishedVerdicts() ?? [])];
    for (const { destination } of marks) routes.push(routeName(journal, destination));
  }
  return routes;
}

/** null: a producer runs, and its spools are its own. */
async function withoutProducer<A extends Ask>(bench: Bench<A>): Promise<Done | null> {
  const { config, ask } = bench;
  const alone = await keepProducersOut(config.stateDir);
  if (alone === null) return null;
  try {
    const { journal } = parseRouteName(ask.route);
    const dir = spoolDir(config.stateDir, journal);
    const spool = await Spool.open(dir, { journal, bootId: await readBootId() });
    try {
      return await onSpool(bench, spool);
    } finally {
      await spool.close();
    }
  } finally {
    await alone.release();
  }
}

async function onSpool<A extends Ask>(
  { config, access, ask, log }: Bench<A>,
  spool: Spool,
): Promise<Done> {
  const { journal: name, destination } = parseRouteName(ask.route);
  const store = new BatchStore(spool, config.stateDir);
  const parts = { config, access, payloads: payloadsOf(config, access), spool, store, log };
  const journal = wantedBy(config, name, destination);
  // The configuration may have changed since a producer last looked at it.
  if (journal === null) await spool.recordOrphaned(destination, true);
  const target = journal?.to.find((one) => one.destination === destination);
  if (ask.what === 'skip' || journal === null || target === undefined) {
    return await carryOut(parts, destination, ask);
  }
  const feed = new RouteFeed({
    ...parts,
    journal,
    target,
    formerStreams: new Set(),
    onReset: () => undefined,
  });
  // Redis and the spool agree after it, or it is said that they do not.
  await feed.step();
  const plan = await carryOut(parts, destination, { ...ask, dry: true });
  if (ask.dry) return plan;
  if ('from' in plan && ask.from !== null) await verifyReplay(parts, plan);
  const done = await carryOut(parts, destination, ask);
  await feed.step();
  return done;
}

/**
 * The journal in whose configuration a route is, under its present name or one that it had before;
 * null: in none.
 */
function wantedBy(config: FerryConfig, name: string, destination: string): JournalConfig | null {
  for (const rule of config.journals) {
    const is = rule.kind === 'path' ? rule.name === name : ruleMatches(rule, name);
    const wanted = rule.to.some(
      ({ destination: present }) =>
        present === destination || config.destinations.get(present)?.was.includes(destination),
    );
    if (is && wanted) return resolveJournal(rule, basename(name));
  }
  return null;
}

/** @param alone carries it out where the producer has died meanwhile; null: it lives */
async function askProducer(
  access: QueueAccess,
  ask: Ask,
  alone: () => Promise<Done | null>,
  patienceMs: number,
): Promise<Done> {
  const asks = new Asks(access.scripts, access.keys);
  await asks.put(ask);
  const claimBy = performance.now() + CLAIM_PATIENCE_MS;
  const answerBy = claimBy + ANSWER_PATIENCE_MS + patienceMs;
  let claimed = false;
  for (let looks = 1; ; looks += 1) {
    const answer = await asks.answerTo(ask.id);
    if (answer?.ok) return answer.done;
    if (answer !== null) {
      const { code, message, kind, hint } = answer;
      throw new FerryError(code, message, { kind, hint });
    }
    const done = looks % LOOKS_PER_TRY === 0 ? await alone() : null;
    if (done !== null) {
      await asks.claim(ask.id); // nobody is to do it again
      return done;
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

function notDone({ what, route }: Ask, why: string): FerryError {
  const { journal } = parseRouteName(route);
  const code = what === 'skip' ? 'SKIP_NOT_DONE' : 'REPLAY_NOT_DONE';
  return new FerryError(code, `not done: ${why}`, {
    kind: 'storage',
    hint: `ferry status shows whether ${route} went on; start the producer of ${journal}, or say it on its host`,
    context: { route },
  });
}
