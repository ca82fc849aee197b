import type { ChaosOptions } from './options.js';
import type { Outage } from './peers/peer.js';
import { inSeconds, type Kind, type Plan } from './plan.js';
import type { Random } from './random.js';
import { redisEvents } from './redisEvents.js';
import type { Site } from './site.js';

/** Longer than the lease of 15 s, so that another worker takes over meanwhile. */
const LONG_STOP_MS: readonly [number, number] = [17_000, 20_000];
const SHORT_STOP_MS: readonly [number, number] = [1_000, 3_000];

/** Everything that may happen at this site. */
export function kindsOfEvents(site: Site, options: ChaosOptions): Kind[] {
  const { peer } = site;
  const workers = (random: Random): string => `worker${random.integer(1, site.workers)}`;
  const producer = (): string => 'producer';
  const kinds: Kind[] = [
    { weight: 5, plan: (random) => kill(site, workers(random), random) },
    { weight: 3, plan: (random) => kill(site, producer(), random) },
    { weight: 2, plan: (random) => standStill(site, workers(random), SHORT_STOP_MS, random) },
    { weight: 1, plan: (random) => standStill(site, producer(), SHORT_STOP_MS, random) },
    ...redisEvents(site),
  ];
  if (!options.shortStops) {
    kinds.push(
      { weight: 3, plan: (random) => standStill(site, workers(random), LONG_STOP_MS, random) },
      { weight: 0.4, plan: (random) => standStill(site, producer(), LONG_STOP_MS, random) },
    );
  }
  const { outage, crash } = peer;
  if (outage !== undefined) {
    kinds.push(
      {
        weight: 2,
        plan: (random) => {
          const ms = random.between(2_000, 8_000);
          return {
            targets: ['destination'],
            text: `destination: down for ${inSeconds(ms)}`,
            count: (counters) => counters.outages++,
            async run(pause) {
              await outage.down();
              await pause(ms);
              await outage.up();
            },
          };
        },
      },
      {
        weight: 2,
        plan: (random) => killWithOutage(site, outage, random),
      },
    );
  }
  if (crash !== undefined) {
    kinds.push({
      weight: 3,
      plan: (random) => {
        const ms = random.between(100, 4_000);
        return {
          targets: ['destination'],
          text: `receiver: SIGKILL, back after ${inSeconds(ms)}`,
          count: (counters) => counters.kills++,
          async run(pause) {
            await crash.kill();
            await pause(ms);
            await crash.start();
          },
        };
      },
    });
  }
  return kinds;
}

function kill(site: Site, name: string, random: Random): Plan {
  const ms = random.chance(0.3) ? 0 : random.between(100, 4_000);
  return {
    targets: [name],
    text: `${name}: SIGKILL, back after ${inSeconds(ms)}`,
    count: (counters) => counters.kills++,
    async run(pause) {
      await site.role(name).kill();
      await pause(ms);
      await site.role(name).start();
    },
  };
}

/** A batch whose answer nobody hears, and then connections that fail. */
function killWithOutage(site: Site, outage: Outage, random: Random): Plan {
  const one = random.integer(1, site.workers);
  const all = random.chance(0.5);
  const killed = Array.from({ length: site.workers }, (_, n) => `worker${n + 1}`).filter(
    (_, n) => all || n + 1 === one,
  );
  const backMs = random.between(100, 2_000);
  const downMs = random.between(1_000, 4_000);
  return {
    targets: ['destination', ...killed],
    text: `${killed.join(', ')}: SIGKILL, back after ${inSeconds(backMs)}; destination: down for ${inSeconds(downMs + backMs)}`,
    count: (counters) => {
      counters.kills += killed.length;
      counters.outages++;
    },
    async run(pause) {
      await Promise.all([outage.down(), ...killed.map((name) => site.role(name).kill())]);
      await pause(backMs);
      await Promise.all(killed.map((name) => site.role(name).start()));
      await pause(downMs);
      await outage.up();
    },
  };
}

function standStill(
  site: Site,
  name: string,
  [min, max]: readonly [number, number],
  random: Random,
): Plan {
  const ms = random.between(min, max);
  return {
    targets: [name],
    text: `${name}: SIGSTOP for ${inSeconds(ms)}`,
    count: (counters) => {
      if (min >= LONG_STOP_MS[0]) counters.longStops++;
      else counters.stops++;
    },
    async run(pause) {
      site.role(name).standStill();
      await pause(ms);
      site.role(name).goOn();
    },
  };
}
