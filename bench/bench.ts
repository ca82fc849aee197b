/**
 * Comparisons: ours and a peer, in the same run, on the same machine, in turn.
 *
 * Exit code 0: measured, whatever the figures are; 1: something did not work; 2: wrong words.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { asUsage, endWithParent, runProgram, UsageError, wholeNumber } from '../chaos/program.js';
import { COMPARISONS } from './comparisons/index.js';
import type { Comparison, Measured, Outcome } from './harness/comparison.js';
import { Lab } from './harness/lab.js';
import { machine } from './harness/machine.js';
import { report } from './harness/report.js';
import { plain } from './harness/table.js';

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

const USAGE = `usage: npm run bench -- [NAME ...] [--rounds N] [--quick] [--write FILE]

  NAME      ${COMPARISONS.map(({ name }) => name).join(', ')} (all of them)
  --rounds  how often everything is measured (each comparison has its own number)
  --quick   smaller in every respect: to see that it runs, not what it says
  --write   where the report goes
`;

const OPTIONS = {
  rounds: { type: 'string' },
  quick: { type: 'boolean', default: false },
  write: { type: 'string' },
} as const;

async function main(args: readonly string[]): Promise<boolean> {
  const { values, positionals } = asUsage(() =>
    parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true }),
  );
  const unknown = positionals.filter((name) => !COMPARISONS.some((one) => one.name === name));
  if (unknown.length > 0) throw new UsageError(`there is no comparison ${unknown.join(', ')}`);
  const rounds =
    values.rounds === undefined ? undefined : wholeNumber('rounds', values.rounds, 1, 1_000);
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
  return true;
}

await runProgram('bench', USAGE, main);
