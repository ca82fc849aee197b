import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  atMost,
  type Comparison,
  interleaved,
  medianOf,
  round,
  type Sample,
  type Verdict,
} from '../harness/comparison.js';
import type { Bench } from '../harness/lab.js';
import { cpuSeconds, pssMb } from '../harness/usage.js';

/** The start's work is over, and what it left in memory has been collected, after so long. */
const SETTLE_MS = 25_000;
const WATCHED_MS = 30_000;

/** Wanted: MB, percent of a core. */
const TARGETS = new Map([
  [1_000, { pss: 150, cpu: 1 }],
  [10_000, { pss: 250, cpu: 3 }],
]);
const START_SECONDS = 5;

async function idling(bench: Bench, journals: number, quick: boolean): Promise<Sample> {
  const sink = await bench.sink();
  for (let n = 1; n <= journals; n += 1) writeFileSync(bench.path('fifo', `j${n}`), '');
  bench.configure({
    ports: { replica: sink.port },
    journals: ['match: fifo/*, to: replica'],
  });
  const begun = performance.now();
  const child = await bench.ferry('run');
  const seconds = (performance.now() - begun) / 1_000;
  const members = { pids: [child.pid], stateDir: bench.stateDir };
  await sleep(quick ? 1_000 : SETTLE_MS);
  const before = cpuSeconds(members);
  const watchedMs = quick ? 2_000 : WATCHED_MS;
  await sleep(watchedMs);
  return {
    'start s': seconds,
    'PSS MB': pssMb(members),
    'CPU %': ((cpuSeconds(members) - before) / (watchedMs / 1_000)) * 100,
  };
}

export const idle: Comparison = {
  name: 'idle',
  title: 'Many journals, nothing to do',
  text: `\`ferry run\` with its keeper and its embedded Redis: from its start to the line that says so, then ${SETTLE_MS / 1_000} s later for ${WATCHED_MS / 1_000} s. Every journal is looked at each 20 s (\`interval\`).`,
  rounds: 1,
  async run(lab, { rounds, quick }) {
    const [few, many] = quick ? [50, 100] : [1_000, 10_000];
    const samples = await interleaved(
      rounds,
      {
        few: () => lab.measure((bench) => idling(bench, few, quick)),
        many: () => lab.measure((bench) => idling(bench, many, quick)),
      },
      lab.say,
    );
    const figures = ['start s', 'PSS MB', 'CPU %'];
    const rows: string[][] = [];
    const verdicts: Verdict[] = [];
    for (const [name, journals] of [
      ['few', few],
      ['many', many],
    ] as const) {
      const figure = (what: string): number => medianOf(samples[name], what);
      rows.push([`${journals} journals`, ...figures.map((what) => round(figure(what)))]);
      const target = TARGETS.get(journals);
      if (target === undefined) continue;
      verdicts.push(
        atMost(`PSS, ${journals} idle journals`, figure('PSS MB'), target.pss, ' MB'),
        atMost(`CPU, ${journals} idle journals`, figure('CPU %'), target.cpu, ' %'),
      );
      if (name === 'many') {
        verdicts.push(
          atMost(`start, ${journals} journals`, figure('start s'), START_SECONDS, ' s'),
        );
      }
    }
    return { tables: [{ heads: ['', ...figures], rows }], verdicts };
  },
};
