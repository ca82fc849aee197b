import { setTimeout as sleep } from 'node:timers/promises';
import { say } from '../chaos/findings.js';
import { Household } from '../chaos/household.js';
import { endWithParent, runProgram } from '../chaos/program.js';
import { Gauge, type Sample } from './gauge.js';
import { judgeEnd, judgeLogs, judgeSamples } from './judge.js';
import { parseOptions, USAGE, type WeekOptions } from './options.js';
import { DESTINATIONS, WeekSite } from './site.js';
import { difference, RECORD_BYTES, WeekWriter } from './writer.js';

/**
 * One of two destinations of each journal is dead for as many attempts as a week has; writers go
 * on. Nothing that it costs may grow without end, nobody else may be delayed while the spool has
 * room, and afterwards everything arrives.
 *
 *     commits, each to the live destination at once, until the spool is full   60 % of the attempts
 *     commits that wait in the journals                                        the rest
 *     the dead destination comes back: everything to both, in order, and all is small again
 */

const SAMPLES = 100;
/** The spool is full after this share of the week. */
const FULL_AT_SHARE = 0.6;
/** Commits that have to wait in the journal, per journal. */
const JOURNAL_RECORDS = 200;
/** Two attempts of a route need no longer than this, nor does a commit to the live destination. */
const STANDSTILL_MS = 60_000;
const DELIVERY_MS = 300_000;
const LOOK_MS = 20;

async function main(options: WeekOptions): Promise<boolean> {
  const household = new Household();
  endWithParent();
  say(`week ${JSON.stringify(options)} in ${household.dir}`);
  let gauge: Gauge | null = null;
  try {
    const site = await WeekSite.make(household, options);
    gauge = new Gauge(site);
    await site.start();
    const writers = site.journals.map((name) => new WeekWriter(name, site.journalPath(name)));
    const begun = await Promise.all(writers.map((writer) => writer.commit())).then(() =>
      (gauge as Gauge).sample(),
    );
    const samples = await pass(site, writers, gauge, options);
    const faults = [...judgeSamples(samples, options), ...(await judgeLogs(site))];
    const full = samples.at(-1);
    say(`the week is over: ${JSON.stringify(full)}`);
    await site.receive('dead');
    faults.push(...(await delivered(site, writers)));
    await oneMoreCommit(site, writers);
    const end = await settled(gauge, (sample) => judgeEnd(begun, sample, options).length === 0);
    faults.push(...judgeEnd(begun, end, options), ...(await judgeLogs(site)));
    say(`delivered: ${JSON.stringify(end)}`);
    for (const writer of writers) writer.close();
    await site.stop();
    household.keep = faults.length > 0;
    for (const fault of new Set(faults)) say(`FAULT ${fault}`);
    if (household.keep) say(`kept for a look: ${household.dir}`);
    const records = writers.reduce((sum, writer) => sum + writer.records, 0);
    say(
      `attempts=${full?.attempts} journals=${options.journals} records=${records} bytes=${records * RECORD_BYTES} ${faults.length === 0 ? 'OK' : 'VIOLATION'}`,
    );
    return faults.length === 0;
  } catch (error) {
    household.keep = true;
    say(`kept for a look: ${household.dir}`);
    throw error;
  } finally {
    gauge?.close();
    await household.close();
  }
}

/** The week itself. */
async function pass(
  site: WeekSite,
  writers: readonly WeekWriter[],
  gauge: Gauge,
  options: WeekOptions,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  const spoolRecords = Math.floor(options.spoolBytes / RECORD_BYTES);
  let seen = -1;
  let movedAt = performance.now();
  for (;;) {
    const attempts = await gauge.attempts();
    if (attempts > seen) {
      seen = attempts;
      movedAt = performance.now();
    } else if (performance.now() - movedAt > STANDSTILL_MS) {
      throw new Error(`no attempt for ${STANDSTILL_MS} ms, after ${attempts}`);
    }
    if (samples.length <= (attempts / options.attempts) * SAMPLES) {
      samples.push(await gauge.sample());
      if (samples.length % 10 === 1) say(JSON.stringify(samples.at(-1)));
    }
    if (attempts >= options.attempts) return samples;
    const share = attempts / options.attempts / FULL_AT_SHARE;
    const wanted = Math.min(Math.ceil(spoolRecords * share), spoolRecords + JOURNAL_RECORDS);
    const due = writers.filter((writer) => writer.records < wanted);
    await Promise.all(due.map((writer) => writer.commit()));
    // While the spool has room the dead one delays nobody.
    for (const writer of due) {
      if (writer.records <= spoolRecords) await arrives(site, writer, 'live', STANDSTILL_MS);
    }
    await sleep(LOOK_MS);
  }
}

async function arrives(
  site: WeekSite,
  writer: WeekWriter,
  destination: 'live' | 'dead',
  withinMs: number,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const bytes = await site.arrivedBytes(destination, writer.journal);
    if (bytes >= writer.bytes) return;
    if (performance.now() > deadline) {
      throw new Error(
        `${bytes} of ${writer.bytes} bytes of ${writer.journal} are at the ${destination} destination after ${withinMs} ms`,
      );
    }
    await sleep(LOOK_MS);
  }
}

/** Everything to both destinations, byte for byte. */
async function delivered(site: WeekSite, writers: readonly WeekWriter[]): Promise<string[]> {
  const faults: string[] = [];
  for (const destination of DESTINATIONS) {
    for (const writer of writers) {
      await arrives(site, writer, destination, DELIVERY_MS);
      const arrived = site.arrived(destination, writer.journal);
      const fault = await difference(writer.journal, writer.records, arrived);
      if (fault !== null) faults.push(`${destination}: ${fault}`);
    }
  }
  return faults;
}

/**
 * The batch that was confirmed last stays, and with it all that lies in its file, until its
 * successor is confirmed. So what a week leaves behind is seen behind one more commit.
 */
async function oneMoreCommit(site: WeekSite, writers: readonly WeekWriter[]): Promise<void> {
  await Promise.all(writers.map((writer) => writer.commit()));
  for (const destination of DESTINATIONS) {
    for (const writer of writers) await arrives(site, writer, destination, DELIVERY_MS);
  }
}

/** The last acks come over and free what they hold. */
async function settled(gauge: Gauge, isSmall: (sample: Sample) => boolean): Promise<Sample> {
  const deadline = performance.now() + STANDSTILL_MS;
  for (;;) {
    const sample = await gauge.sample();
    if (isSmall(sample) || performance.now() > deadline) return sample;
    await sleep(LOOK_MS);
  }
}

await runProgram('week', USAGE, (args) => main(parseOptions(args)));
