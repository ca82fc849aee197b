import type { Measured } from './comparison.js';
import { markdown } from './table.js';

/** The page for the documentation. */
export function report(
  machine: readonly (readonly [string, string])[],
  measured: readonly Measured[],
): string {
  const verdicts = measured.flatMap(({ outcome }) => outcome.verdicts);
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
        met ? 'met' : '**not met**',
      ]),
    }),
    ...measured.map(section),
  ].join('\n\n')}\n`;
}

function section({ comparison, rounds, outcome }: Measured): string {
  return [
    `## ${comparison.title}`,
    comparison.text,
    `\`npm run bench -- ${comparison.name}\`, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}.`,
    ...outcome.tables.map(markdown),
    ...(outcome.notes ?? []),
  ].join('\n\n');
}
