import type { Logger } from 'pino';
import { FerryError } from '../common/errors.js';
import { parseRouteName, routeName } from '../common/identity.js';
import type { StartProgress } from '../common/progress.js';
import type { FerryConfig } from '../config/model.js';
import { ruleMatches } from '../config/routes.js';
import { routesNamed } from '../operator/routeNames.js';
import { deliveredDir } from '../producers/archive/archiveFiles.js';
import { archiveSpan } from '../producers/archive/archiveReader.js';
import { spoolDir, spooledJournals } from '../producers/spoolFiles.js';
import { proveArchive } from './archiveProof.js';
import type { ChainLine } from './chainLine.js';
import { compareWithReceiver } from './expected.js';
import { Findings, type OnBytes } from './findings.js';
import { type ReadSpool, readSpool } from './readSpool.js';
import { lookAtRedis, type RedisLook } from './redisLook.js';
import { proveInRedis } from './redisProof.js';
import type { RouteProof, SentProof } from './report.js';
import { proveSpool } from './spoolProof.js';

export interface SentOptions {
  /** A route, a glob, or a journal: all its routes; null: all. */
  name: string | null;
  /** What receivers said of their side. */
  expect: readonly ChainLine[];
  /** Other pipelines use the state directory, too (`ferry ssl`). */
  isDaemon: boolean;
  /** False: the archive of delivered batches is left out. */
  archive: boolean;
  progress: StartProgress;
}

/** So many routes that Redis does not know: it lost them all, and waiting for each helps nobody. */
const PATIENT_MAX = 20;

interface Journal {
  name: string;
  dir: string;
  read: ReadSpool;
  routes: string[];
}

/**
 * Proves from this side that what was captured is confirmed or waits, digest by digest. Reads only,
 * takes no lock and starts nothing; a producer may be at work or not.
 *
 * @throws FerryError ROUTE_UNKNOWN, ROUTE_AMBIGUOUS, EXPECT_AMBIGUOUS (kind usage)
 */
export async function verifySent(
  config: FerryConfig,
  log: Logger,
  options: SentOptions,
): Promise<SentProof> {
  const findings = new Findings();
  const redis = await lookAtRedis(config, log);
  const shown = options.progress('reading what was captured', 'bytes');
  try {
    const all = await journalsOf(config, options);
    const known = all.flatMap(({ routes }) => routes);
    const elsewhere =
      typeof redis === 'string' ? [] : redis.routes.filter((r) => !known.includes(r));
    const { name: asked } = options;
    const named = all.find(({ name }) => name === asked);
    const wanted = new Set(
      asked === null
        ? [...known, ...elsewhere]
        : (named?.routes ?? routesNamed(asked, [...known, ...elsewhere].sort())),
    );
    const journals = all.filter(
      (one) => asked === null || one === named || one.routes.some((route) => wanted.has(route)),
    );
    const total = await bytesIn(config, journals, options.archive);
    let done = 0;
    const onBytes: OnBytes = (bytes) => {
      done += bytes;
      shown.at(done, total);
    };
    const proof: Pick<SentProof, 'journals' | 'routes'> = { journals: [], routes: [] };
    let unsure = 0;
    for (const { name, dir, read } of journals) {
      const proved = await proveSpool(dir, name, read, findings, {
        wanted: (route) => wanted.has(route),
        onBytes,
      });
      if (proved === null) continue;
      proof.journals.push(proved.journal);
      if (options.archive && read.view !== null) {
        const { stateDir } = config;
        proved.journal.archived = await proveArchive(stateDir, read.view, findings, onBytes);
      }
      proof.routes.push(...proved.routes);
      if (read.damage !== null) {
        findings.unchecked(name, 'behind the damage nothing was looked at', 'repair it first');
      } else if (typeof redis !== 'string') {
        for (const route of proved.routes) {
          await inRedis(dir, route, redis, { findings, patient: unsure < PATIENT_MAX });
          if (route.redisAgrees === null && !route.orphaned) unsure += 1;
        }
      }
    }
    if (typeof redis === 'string') {
      findings.unchecked(null, `Redis was not compared: ${redis}`, 'the spools alone were checked');
    }
    for (const route of elsewhere.filter((one) => wanted.has(one))) {
      findings.unchecked(route, 'its spool is not in this state directory', 'say it on its host');
    }
    for (const line of options.expect) expectLine(journals, proof.routes, line, findings);
    const error = typeof redis === 'string' ? redis : null;
    return { ...findings.proof(), redis: { ok: error === null, error }, ...proof };
  } finally {
    shown.end();
    if (typeof redis !== 'string') await redis.close();
  }
}

async function journalsOf(config: FerryConfig, { isDaemon }: SentOptions): Promise<Journal[]> {
  const journals: Journal[] = [];
  for (const name of (await spooledJournals(config.stateDir)).sort()) {
    const own = config.journals.some((rule) =>
      rule.kind === 'path' ? rule.name === name : ruleMatches(rule, name),
    );
    if (isDaemon && !own) continue; // another daemon's
    const dir = spoolDir(config.stateDir, name);
    const read = await readSpool(dir);
    if (read === undefined) continue;
    const marks = [...(read.view?.routes() ?? [])];
    const routes = marks.map(({ destination }) => routeName(name, destination));
    journals.push({ name, dir, read, routes });
  }
  return journals;
}

async function inRedis(
  dir: string,
  route: RouteProof,
  redis: RedisLook,
  { findings, patient }: { findings: Findings; patient: boolean },
): Promise<void> {
  const { journal, destination } = route;
  if (route.orphaned) return; // it was taken out of Redis
  try {
    const look = (name: string) => redis.at(name);
    const verdict = await proveInRedis(dir, journal, destination, look, patient);
    if (verdict.is === 'unsure') findings.unchecked(route.route, verdict.what, verdict.do);
    else route.redisAgrees = verdict.is === 'equal';
    if (verdict.is === 'differs') findings.differs({ ...verdict, routes: [route.route] });
  } catch {
    findings.unchecked(route.route, 'Redis went away', 'say it again');
  }
}

/** The receiver's line against the route that it must be about. */
function expectLine(
  journals: readonly Journal[],
  routes: readonly RouteProof[],
  line: ChainLine,
  findings: Findings,
): void {
  const journal = journals.find(({ read }) => read.view?.stream === line.stream);
  const [route, ...others] = routes.filter((one) => one.journal === journal?.name);
  if (journal === undefined || route === undefined) {
    findings.differs({
      code: 'STREAM_UNKNOWN',
      what: `no journal here has the stream ${line.stream}`,
      do: 'the line is another sender’s, or the journal went on as a new stream: see audit.log',
    });
    return;
  }
  if (others.length > 0) {
    const names = [route, ...others].map((one) => one.route);
    throw new FerryError('EXPECT_AMBIGUOUS', `journal ${journal.name} has ${names.length} routes`, {
      kind: 'usage',
      hint: `name the one that leads to this receiver: ${names.join(', ')}`,
    });
  }
  const mark = journal.read.view?.route(parseRouteName(route.route).destination);
  if (journal.read.view === null || mark === undefined) return;
  const verdict = compareWithReceiver(journal.read.view, mark, line);
  if (verdict.is === 'proved') route.expected = { ahead: verdict.ahead };
  else findings.differs({ ...verdict, routes: [route.route], sequence: line.chain.through });
}

async function bytesIn(
  { stateDir }: FerryConfig,
  journals: readonly Journal[],
  archive: boolean,
): Promise<number> {
  let bytes = 0;
  for (const { name, read } of journals) {
    for (const batch of read.view?.batchesAfter(0) ?? []) bytes += batch.bytes;
    if (archive) bytes += (await archiveSpan(deliveredDir(stateDir, name)))?.bytes ?? 0;
  }
  return bytes;
}

/** The proofs of several pipelines as one. */
export function joined([first, ...others]: [SentProof, ...SentProof[]]): SentProof {
  return others.reduce(
    (all, one) => ({
      version: 1,
      ok: all.ok && one.ok,
      complete: all.complete && one.complete,
      differences: [...all.differences, ...one.differences],
      omitted: all.omitted + one.omitted,
      unchecked: [...all.unchecked, ...one.unchecked],
      redis: all.redis.ok ? one.redis : all.redis,
      journals: [...all.journals, ...one.journals],
      routes: [...all.routes, ...one.routes],
    }),
    first,
  );
}
