import type { Random } from './random.js';

export interface Counters {
  kills: number;
  stops: number;
  longStops: number;
  outages: number;
  redisKills: number;
  redisRestarts: number;
  redisStops: number;
  flushes: number;
  restores: number;
}

export function noCounters(): Counters {
  return {
    kills: 0,
    stops: 0,
    longStops: 0,
    outages: 0,
    redisKills: 0,
    redisRestarts: 0,
    redisStops: 0,
    flushes: 0,
    restores: 0,
  };
}

/** What happens next. All numbers are drawn before, so that the sequence follows from the seed. */
export interface Plan {
  /** What it happens to; nothing else happens to these meanwhile. */
  targets: readonly string[];
  text: string;
  count: (counters: Counters) => void;
  /** Does it and undoes it; `pause` ends early when everything is to be healed. */
  run(pause: (ms: number) => Promise<void>): Promise<void>;
}

/** A sort of event; of those with more weight there are more. */
export interface Kind {
  weight: number;
  plan(random: Random): Plan;
}

export function inSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
