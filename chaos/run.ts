import { setTimeout as sleep } from 'node:timers/promises';
import { kindsOfEvents } from './events.js';
import { type Findings, say } from './findings.js';
import type { ChaosOptions } from './options.js';
import { type Counters, noCounters } from './plan.js';
import { Random } from './random.js';
import type { Site } from './site.js';

const PAUSE_MIN_MS = 300;
const PAUSE_MAX_MS = 5_000;

/** Longer than everything that heals by itself: leases, stalled jobs, looks at sleeping heads. */
const STANDSTILL_MS = 120_000;
const DELIVERY_MAX_MS = 900_000;
/** What comes although all is delivered comes within this. */
const AFTERMATH_MS = 3_000;
const LOOK_MS = 250;

/** Lets things go wrong for as long as asked, and puts everything right again. */
export async function misfortunes(site: Site, options: ChaosOptions): Promise<Counters> {
  const random = new Random(options.seed);
  const counters = noCounters();
  const kinds = kindsOfEvents(site, options);
  const healing = new AbortController();
  const pause = (ms: number): Promise<void> =>
    sleep(ms, undefined, { signal: healing.signal }).catch(() => undefined);
  const under = new Map<string, Promise<void>>();
  const endAt = performance.now() + options.minutes * 60_000;
  let failed: Promise<never> | null = null;
  for (;;) {
    const wait = random.between(PAUSE_MIN_MS, PAUSE_MAX_MS);
    const plan = random.pickWeighted(kinds).plan(random);
    if (performance.now() + wait > endAt) break;
    await Promise.race([sleep(wait), ...(failed === null ? [] : [failed])]);
    if (plan.targets.some((target) => under.has(target))) {
      say(`(${plan.text}: not now)`);
      continue;
    }
    say(plan.text);
    plan.count(counters);
    const happening = plan.run(pause).finally(() => {
      for (const target of plan.targets) under.delete(target);
    });
    for (const target of plan.targets) under.set(target, happening);
    happening.catch((error: unknown) => {
      failed ??= Promise.reject(error);
      failed.catch(() => undefined);
    });
  }
  await sleep(Math.max(0, endAt - performance.now()));
  say('healing everything');
  healing.abort();
  await Promise.all(under.values());
  return counters;
}

/** Waits until all has arrived; a finding when it does not. */
export async function delivery(site: Site, findings: Findings): Promise<void> {
  const { peer } = site;
  const begun = performance.now();
  let mark = '';
  let movedAt = begun;
  for (;;) {
    const progress = await peer.progress();
    const now = performance.now();
    if (progress.done) break;
    if (progress.mark !== mark) {
      mark = progress.mark;
      movedAt = now;
    }
    if (now - movedAt > STANDSTILL_MS || now - begun > DELIVERY_MAX_MS) {
      findings.add(
        'failures',
        `not delivered after ${Math.round((now - begun) / 1000)} s: ${mark}`,
      );
      return;
    }
    await sleep(LOOK_MS);
  }
  say('everything has arrived');
  await sleep(AFTERMATH_MS);
}
