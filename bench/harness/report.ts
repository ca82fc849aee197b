import type { Measured } from './comparison.js';
import { markdown, type Table } from './table.js';

/** The page for the documentation. */
export function report(
  machine: readonly (readonly [string, string])[],
  measured: readonly Measured[],
): string {
  const verdicts = measured.flatMap((one) => ('outcome' in one ? one.outcome.verdicts : []));
  return `${[
    '# Benchmarks',
    'Written by `npm run bench`. Every comparison runs ours and the peer in the same run on the same machine, in turn; the figures are medians over the rounds, a ratio is the median of the ratios within each round. They show proportions, on the machine below, and are no promise.',
    'No durability is switched off: the spool syncs every seal, Redis has `appendfsync always`, a receiver of ours syncs before it answers.',
    markdown({ heads: ['machine', ''], rows: machine.map((row) => [...row]) }),
    '## Targets',
    markdown({
      heads: ['what', 'wanted', 'measured', ''],
      rows: verdicts.map(({ what, target, measured: figure, met }) => [
        what,
        target,
        figure,
        met ? 'met' : '**NOT met**',
      ]),
    }),
    ...measured.map(section),
    '## How long it took',
    markdown(durations(measured)),
  ].join('\n\n')}\n`;
}

/** Minutes of each comparison, and together. */
export function durations(measured: readonly Measured[]): Table {
  const minutes = (seconds: number): string => (seconds / 60).toFixed(1);
  const all = measured.reduce((sum, { seconds }) => sum + seconds, 0);
  return {
    heads: ['comparison', 'rounds', 'minutes'],
    rows: [
      ...measured.map(({ comparison, rounds, seconds }) => [
        comparison.name,
        `${rounds}`,
        minutes(seconds),
      ]),
      ['together', '', minutes(all)],
    ],
  };
}

function section(one: Measured): string {
  const { comparison, rounds } = one;
  return [
    `## ${comparison.title}`,
    comparison.text,
    `\`npm run bench -- ${comparison.name}\`, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}.`,
    ...('outcome' in one
      ? [...one.outcome.tables.map(markdown), ...(one.outcome.notes ?? [])]
      : [`**Not measured**: ${one.failed}`]),
  ].join('\n\n');
}
