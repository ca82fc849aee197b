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
import { durations, report } from './harness/report.js';
import { plain } from './harness/table.js';

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

/** Measures one; what went wrong with it is said, and is no reason not to measure the others. */
async function measure(
  comparison: Comparison,
  lab: Lab,
  options: { rounds: number; quick: boolean },
): Promise<Measured> {
  const begun = performance.now();
  const seconds = (): number => (performance.now() - begun) / 1_000;
  try {
    const outcome = await comparison.run(lab, options);
    return { comparison, rounds: options.rounds, seconds: seconds(), outcome };
  } catch (error) {
    lab.household.keep = true;
    const text = error instanceof Error ? error.message : String(error);
    console.error(`${comparison.name} failed: ${text}\nits logs stay in ${lab.path('logs')}`);
    return { comparison, rounds: options.rounds, seconds: seconds(), failed: text };
  }
}

function show({ tables, notes = [], verdicts }: Outcome): void {
  for (const table of tables) console.log(`\n${plain(table)}`);
  for (const note of notes) console.log(note);
  for (const { what, target, measured, met } of verdicts) {
    console.log(`${met ? 'met' : 'NOT met'}: ${what}: ${measured}, wanted ${target}`);
  }
}

async function main(args: readonly string[]): Promise<boolean> {
  const { values, positionals } = asUsage(() =>
    parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true }),
  );
  const unknown = positionals.filter((name) => !COMPARISONS.some((one) => one.name === name));
  if (unknown.length > 0) throw new UsageError(`there is no comparison ${unknown.join(', ')}`);
  const rounds =
    values.rounds === undefined ? undefined : wholeNumber('rounds', values.rounds, 1, 1_000);
  endWithParent();
  process.setMaxListeners(2 * COMPARISONS.length); // each lab tidies up at the exit
  const head = await machine();
  for (const [name, value] of head) console.log(`${name}: ${value}`);
  const wanted = COMPARISONS.filter(
    ({ name }) => positionals.length === 0 || positionals.includes(name),
  );
  const done: Measured[] = [];
  const labs: Lab[] = [];
  try {
    for (const comparison of wanted) {
      console.log(`\n${comparison.title} (${comparison.name})`);
      const lab = await Lab.open((line) => console.log(`  ${line}`));
      labs.push(lab);
      const { quick } = values;
      const times = rounds ?? (quick ? 1 : comparison.rounds);
      const one = await measure(comparison, lab, { rounds: times, quick });
      if ('outcome' in one) show(one.outcome);
      done.push(one);
      // Each time: what comes later may fail, or be interrupted.
      if (values.write !== undefined) writeFileSync(values.write, report(head, done));
    }
  } finally {
    // Only now: files that are removed slow the making of others down.
    for (const lab of labs) await lab.close();
  }
  console.log(`\n${plain(durations(done))}`);
  return done.every((one) => 'outcome' in one);
}

await runProgram('bench', USAGE, main);
