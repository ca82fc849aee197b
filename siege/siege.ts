import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from '../chaos/findings.js';
import { Household } from '../chaos/household.js';
import { endWithParent, runProgram, UsageError } from '../chaos/program.js';
import { connectionsSettled } from '../src/protocol/index.js';
import {
  judgeFolder,
  judgeOurs,
  judgeTheirs,
  MEMORY_MAX_BYTES,
  percentile,
  picture,
} from './judge.js';
import { parseOptions, type SiegeOptions, USAGE } from './options.js';
import { HOSTILE_APP, SiegeSite } from './site.js';
import { BIN_SSL, OurSource, TheirSource } from './sources.js';

/**
 * A receiver with a hundred honest sources, and hostile clients among them: wrong keys, lies about
 * length, traversal, garbage, connections that are held and never used. Every honest batch must be
 * stored once and in order, nothing may be written outside the data folder, and memory and waiting
 * times must stay within their bounds.
 */

const MIB = 1024 * 1024;
const TELL_EVERY_MS = 10_000;
/** What is on its way when the siege ends must have arrived after this. */
const DELIVERY_MS = 120_000;
const LOOK_MS = 100;
const P99 = 0.99;
/** So much longer it goes on without an attack first, to compare with. */
const CALM_SHARE = 0.2;

async function main(options: SiegeOptions): Promise<boolean> {
  if (options.theirs > 0 && !existsSync(BIN_SSL)) {
    throw new UsageError(`${BIN_SSL} is missing: apt-get install picolisp, or --theirs 0`);
  }
  const household = new Household();
  endWithParent();
  say(`siege ${JSON.stringify(options)} in ${household.dir}`);
  try {
    const site = await SiegeSite.make(household);
    await site.startReceiver();
    const journals = new Set<string>();
    const isOurs = (path: string): boolean =>
      path === site.dataDir || path === household.path('logs') || journals.has(path);
    const ours = Array.from({ length: options.ours }, (_, n) => new OurSource(site, n));
    const theirs: TheirSource[] = [];
    for (let n = 0; n < options.theirs; n += 1) theirs.push(await TheirSource.start(site, n));
    for (const { journal } of theirs) journals.add(journal);
    const before = await picture(household.dir, isOurs);

    const over = new AbortController();
    setMaxListeners(0, over.signal);
    const sending = Promise.all([...ours, ...theirs].map((source) => source.run(over.signal)));
    say(`${options.ours} + ${options.theirs} sources send`);
    await pass(site, ours, options.seconds * CALM_SHARE);
    say(`before the attack: ${told(ours)}`);
    await site.startHostile(options.held);
    // What is judged is how it goes under attack.
    for (const source of ours) source.latencies.length = 0;
    say('the attack is under way');
    await pass(site, ours, options.seconds);
    over.abort();
    await sending;
    await shipped(theirs);
    const attacks = await site.endHostile();
    const peak = await site.peakMemory();
    await connectionsSettled();

    const faults: string[] = [];
    const ended = await site.stopReceiver();
    if (ended !== null) faults.push(ended);
    const log = await readFile(household.path('logs/receiver.log'), 'utf8');
    if (/a bug: ending|"level":60/.test(log)) faults.push('the receiver says that it has a bug');
    faults.push(...(await judgeOurs(site.dataDir, ours)));
    faults.push(...(await judgeTheirs(site.dataDir, theirs)));
    const apps = new Set([HOSTILE_APP, ...[...ours, ...theirs].map((source) => source.app)]);
    faults.push(...(await judgeFolder(site.dataDir, apps)));
    const after = await picture(household.dir, isOurs);
    for (const line of new Set([...before, ...after])) {
      if (!before.includes(line) || !after.includes(line)) faults.push(`outside: ${line}`);
    }
    for (const [kind, { tried, taken }] of Object.entries(attacks)) {
      say(`attack ${kind}: ${tried} times, answered with T ${taken} times`);
      if (taken > 0) faults.push(`${taken} requests of the kind ${kind} were accepted`);
    }
    if (peak > MEMORY_MAX_BYTES) faults.push(`the receiver had ${mib(peak)} MiB of memory`);
    const latencies = ours.flatMap((source) => source.latencies);
    const p99 = percentile(latencies, P99);
    if (options.p99Ms !== null && p99 > options.p99Ms) {
      faults.push(`p99 of an honest small batch is ${p99.toFixed(0)} ms`);
    }
    household.keep = faults.length > 0;
    for (const fault of new Set(faults)) say(`FAULT ${fault}`);
    if (household.keep) say(`kept for a look: ${household.dir}`);
    const batches = ours.reduce((sum, { confirmed }) => sum + confirmed.length, 0);
    const bytes = theirs.reduce((sum, { written }) => sum + written.length, 0);
    const attempts = Object.values(attacks).reduce((sum, { tried }) => sum + tried, 0);
    const retries = ours.reduce((sum, { failures }) => sum + failures, 0);
    say(
      `batches=${batches} retries=${retries} binSslBytes=${bytes} attacks=${attempts} peakMiB=${mib(peak)} ` +
        `p50=${percentile(latencies, 0.5).toFixed(0)}ms p99=${p99.toFixed(0)}ms ${faults.length === 0 ? 'OK' : 'VIOLATION'}`,
    );
    return faults.length === 0;
  } catch (error) {
    household.keep = true;
    say(`kept for a look: ${household.dir}`);
    throw error;
  } finally {
    await household.close();
  }
}

/** Lets time pass, and tells how it goes. */
async function pass(site: SiegeSite, ours: readonly OurSource[], seconds: number): Promise<void> {
  const endAt = performance.now() + seconds * 1_000;
  let toldAt = performance.now();
  while (performance.now() < endAt) {
    await sleep(Math.min(LOOK_MS, Math.max(0, endAt - performance.now())));
    if (site.receiver.isOver) throw new Error('the receiver has ended');
    if (performance.now() - toldAt < TELL_EVERY_MS) continue;
    toldAt = performance.now();
    say(`${told(ours)}, ${mib(await site.peakMemory())} MiB at most`);
  }
}

function told(ours: readonly OurSource[]): string {
  const batches = ours.reduce((sum, { confirmed }) => sum + confirmed.length, 0);
  const latencies = ours.flatMap((source) => source.latencies);
  const of = (share: number): string => percentile(latencies, share).toFixed(0);
  return `${batches} batches, p50 ${of(0.5)} ms, p99 ${of(P99)} ms`;
}

/** bin/ssl has sent and emptied every journal. */
async function shipped(theirs: readonly TheirSource[]): Promise<void> {
  const deadline = performance.now() + DELIVERY_MS;
  for (const source of theirs) {
    while (!(await source.isShipped())) {
      if (performance.now() > deadline) {
        throw new Error(`bin/ssl has not shipped ${source.journal} within ${DELIVERY_MS} ms`);
      }
      await sleep(LOOK_MS);
    }
  }
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(0);
}

await runProgram('siege', USAGE, (args) => main(parseOptions(args)));
