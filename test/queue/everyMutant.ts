/**
 * Makes every mutant of every script, one at a time, and says which of them neither the models nor
 * the tests of the scripts notice. `npm run mutants -- [script ...]`; minutes long.
 */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SCRIPTS, type ScriptName } from '../../src/queue/scriptConnection.js';
import { start } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import { EQUIVALENT } from './equivalentMutants.js';
import { openQueueFixture } from './helpers.js';
import { JobBench } from './modelJobs.js';
import { type Mutant, MutantBench, mutantsOf } from './mutants.js';

const RUNS = 300;
const DEADLINE_MS = 120_000;
const SCRIPT_TESTS = ['scripts.test.js', 'wake.test.js', 'payload.test.js'].map((name) =>
  fileURLToPath(new URL(`./${name}`, import.meta.url)),
);

const q = await openQueueFixture();
await q.data.config('SET', 'appendfsync', 'no');
const jobs = new JobBench(q);
q.closing.push(() => jobs.close());
const bench = new MutantBench(q, jobs);

async function scriptTestsNotice(mutant: Mutant): Promise<boolean> {
  const file = join(tempDir(), `${mutant.script}.lua`);
  writeFileSync(file, mutant.lua);
  const tests = start(process.execPath, ['--test', '--test-force-exit', ...SCRIPT_TESTS], {
    env: { FERRY_MUTANT: `${mutant.script}=${file}` },
  });
  const { code } = await tests.end(DEADLINE_MS);
  rmSync(file);
  return code !== 0;
}

const asked = process.argv.slice(2) as ScriptName[];
const scripts = asked.length > 0 ? asked : (Object.keys(SCRIPTS) as ScriptName[]);

test('every mistake is noticed', async () => {
  const counts = { mutants: 0, models: 0, tests: 0, equivalent: 0, unnoticed: 0 };
  for (const script of scripts) {
    for (const mutant of mutantsOf(script)) {
      const judge = await bench.noticedBy(mutant, RUNS);
      if (judge === 'invalid') continue;
      counts.mutants += 1;
      const now = mutant.now.trim();
      if (judge !== undefined) counts.models += 1;
      else if (EQUIVALENT.some((one) => one.script === script && one.now === now)) {
        counts.equivalent += 1;
      } else if (await scriptTestsNotice(mutant)) counts.tests += 1;
      else {
        counts.unnoticed += 1;
        console.log(`${script}.lua:${mutant.line} unnoticed\n  - ${mutant.was.trim()}\n  + ${now}`);
      }
    }
  }
  const text = Object.entries(counts).map(([name, n]) => `${name}=${n}`);
  console.log(`${text.join(' ')} ${counts.unnoticed === 0 ? 'OK' : 'UNNOTICED'}`);
  assert.equal(counts.unnoticed, 0);
});
