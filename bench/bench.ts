/**
 * Comparisons: ours and a peer, in the same run, on the same machine, in turn.
 *
 *     usage: bench [NAME ...] [--rounds N] [--quick] [--write FILE]
 *
 * Exit code 0: measured, whatever the figures are; 1: something did not work; 2: wrong words.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { endWithParent } from '../chaos/program.js';
import { COMPARISONS } from './comparisons/index.js';
import type { Comparison, Outcome } from './harness/comparison.js';
import { Lab } from './harness/lab.js';
import { machine } from './harness/machine.js';
import { report } from './harness/report.js';
import { plain } from './harness/table.js';

export interface Measured {
  comparison: Comparison;
  rounds: number;
  outcome: Outcome;
}

async function measure(comparison: Comparison, rounds: number, quick: boolean): Promise<Outcome> {
  const lab = await Lab.open((line) => console.log(`  ${line}`));
  try {
    return await comparison.run(lab, { rounds, quick });
  } catch (error) {
    lab.household.keep = true;
    console.error(`${comparison.name} failed; its logs stay in ${lab.path('logs')}`);
    throw error;
  } finally {
    await lab.close();
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      write: { type: 'string' },
    },
  });
  const unknown = positionals.filter((name) => !COMPARISONS.some((one) => one.name === name));
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  const wrongRounds = rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0);
  if (unknown.length > 0 || wrongRounds) {
    console.error(
      wrongRounds
        ? '--rounds takes a whole number from 1'
        : `there is no comparison ${unknown.join(', ')}; these are there: ${COMPARISONS.map(({ name }) => name).join(', ')}`,
    );
    return 2;
  }
  endWithParent();
  const head = await machine();
  for (const [name, value] of head) console.log(`${name}: ${value}`);
  const done: Measured[] = [];
  for (const comparison of COMPARISONS) {
    if (positionals.length > 0 && !positionals.includes(comparison.name)) continue;
    const times = rounds ?? (values.quick ? 1 : comparison.rounds);
    console.log(`\n${comparison.title} (${comparison.name})`);
    const outcome = await measure(comparison, times, values.quick);
    for (const table of outcome.tables) console.log(`\n${plain(table)}`);
    for (const note of outcome.notes ?? []) console.log(note);
    for (const { what, target, measured, met } of outcome.verdicts) {
      console.log(`${met ? 'met' : 'NOT MET'}: ${what}: ${measured}, wanted ${target}`);
    }
    done.push({ comparison, rounds: times, outcome });
    if (values.write !== undefined) writeFileSync(values.write, report(head, done));
  }
  return 0;
}

process.exit(await main());
