import { FAULTS, Findings, say } from './findings.js';
import { Household } from './household.js';
import { type ChaosOptions, parseOptions, USAGE } from './options.js';
import { endWithParent, runProgram } from './program.js';
import { delivery, misfortunes } from './run.js';
import { Site } from './site.js';

/**
 * Lets a whole site go wrong again and again, and counts what arrived: nothing may be lost,
 * doubled or out of order, whatever is killed, stopped, flushed or restored.
 */

async function main(options: ChaosOptions): Promise<boolean> {
  const { minutes, seed, peer, payloads, journals } = options;
  const setting = `seed=${seed} peer=${peer} payloads=${payloads} journals=${journals} minutes=${minutes}`;
  const household = new Household();
  endWithParent();
  say(`chaos ${setting} in ${household.dir}`);
  const findings = new Findings();
  // Whatever makes a temporary directory makes it in this one, and so they go with it.
  process.env['TMPDIR'] = household.dir;
  try {
    const site = await Site.start(household, options, findings);
    const sources = site.peer.write();
    say('producer, three workers and the destination run; the writers write');
    const counters = await misfortunes(site, options);
    site.peer.calm();
    await Promise.all(sources.map((source) => source.stop()));
    await delivery(site, findings);
    const ended = site.endedByThemselves;
    await site.stop();
    await site.peer.check();
    household.keep = !findings.ok;
    if (household.keep) say(`kept for a look: ${household.dir}`);
    const faults = FAULTS.map((fault) => [fault, findings.count(fault)]);
    const counts = { ...counters, restarted: ended, ...site.peer.counts() };
    const line = [...Object.entries(counts), ...faults]
      .map(([name, n]) => `${name}=${n}`)
      .join(' ');
    say(`${setting} ${line} ${findings.ok ? 'OK' : 'VIOLATION'}`);
    return findings.ok;
  } catch (error) {
    household.keep = true;
    say(`kept for a look: ${household.dir}`);
    throw error;
  } finally {
    await household.close();
  }
}

await runProgram('chaos', USAGE, (args) => main(parseOptions(args)));
