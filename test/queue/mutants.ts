import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { SCRIPTS, type ScriptName } from '../../src/queue/scriptConnection.js';
import type { QueueFixture } from './helpers.js';
import { BlobRun, blobSteps } from './modelBlobs.js';
import { type JobBench, jobSteps } from './modelJobs.js';
import { maxAttempts, RouteRun, type Step, steps } from './modelSteps.js';

/** A script with one small mistake in one of its lines. */
export interface Mutant {
  script: ScriptName;
  /** From 1. */
  line: number;
  was: string;
  now: string;
  lua: string;
}

export function scriptSource(script: ScriptName): string {
  const file = new URL(`../../src/queue/scripts/${script}.lua`, import.meta.url);
  return readFileSync(file, 'utf8');
}

/** Mistakes that are made in such lines: each is made wherever it can be made, one at a time. */
const MISTAKES: readonly [RegExp, string][] = [
  [/ < /g, ' <= '],
  [/ <= /g, ' < '],
  [/ > /g, ' >= '],
  [/ >= /g, ' > '],
  [/ < /g, ' > '],
  [/ > /g, ' < '],
  [/ == /g, ' ~= '],
  [/ ~= /g, ' == '],
  [/ and /g, ' or '],
  [/ or /g, ' and '],
  [/ \+ 1\b/g, ''],
  [/ - 1\b/g, ''],
  [/math\.max/g, 'math.min'],
  [/, 0\b/g, ', 1'],
  [/, 1\b/g, ', 0'],
  [/, ''/g, ", 'x'"],
  [/\bif .+ then return .+ end$/g, ''],
  [/^(\s*)redis\.call\(.*\)$/g, ''],
  [/\bif (.+) then$/g, 'if true then'],
  [/\bif (.+) then$/g, 'if false then'],
];

/** Lines of which a mistake changes nothing that a test could see. */
const NOT_JUDGED = [
  /HDEL', KEYS\[1\], ''\)/, // only there for a full memory
  /PUBLISH/, // a hint; everybody also looks by himself
  /TIME/,
];

/** Every mutant of a script. */
export function mutantsOf(script: ScriptName): Mutant[] {
  const source = scriptSource(script);
  const code = source.indexOf(']]') + 2; // behind the header
  const lines = source.split('\n');
  const first = source.slice(0, code).split('\n').length;
  const mutants = new Map<string, Mutant>();
  for (let index = first; index < lines.length; index += 1) {
    const was = lines[index] ?? '';
    if (was.trim() === '' || was.trim().startsWith('--')) continue;
    if (NOT_JUDGED.some((pattern) => pattern.test(was))) continue;
    for (const [pattern, by] of MISTAKES) {
      for (const match of was.matchAll(pattern)) {
        const now = was.slice(0, match.index) + by + was.slice(match.index + match[0].length);
        const lua = lines.with(index, now).join('\n');
        if (now !== was) mutants.set(lua, { script, line: index + 1, was, now, lua });
      }
    }
  }
  return [...mutants.values()];
}

/** One that is spelled out: `was` stands once in the script. */
export function mutant(script: ScriptName, was: string, now: string): Mutant {
  const source = scriptSource(script);
  if (source.split(was).length !== 2) throw new Error(`${was} is not once in ${script}`);
  const line = source.slice(0, source.indexOf(was)).split('\n').length;
  return { script, line, was, now, lua: source.replace(was, () => now) };
}

/** Which of the models a script is judged by. */
const JUDGES: Partial<Record<ScriptName, readonly Judge[]>> = {
  beginBlob: ['blobs'],
  endBlob: ['blobs'],
  ack: ['route', 'blobs', 'jobs'],
  skip: ['route', 'blobs', 'jobs'],
};
type Judge = 'route' | 'blobs' | 'jobs';

/** The same every time: a mutant that was noticed once is noticed always. */
const SEED = 1;

/** Runs the models against scripts with mistakes. */
export class MutantBench {
  #routes = 0;

  constructor(
    private readonly q: QueueFixture,
    private readonly jobs: JobBench,
  ) {}

  /** Undefined: no model has noticed. `invalid`: it is no Lua, or the same script. */
  async noticedBy(mutant: Mutant, runs: number): Promise<Judge | 'invalid' | undefined> {
    if (!(await this.#compiles(mutant.lua))) return 'invalid';
    this.#use(mutant.script, mutant.lua);
    try {
      for (const judge of JUDGES[mutant.script] ?? ['route', 'jobs']) {
        if (!(await this.#holds(judge, runs))) return judge;
      }
      return undefined;
    } finally {
      this.#use(mutant.script, scriptSource(mutant.script));
      await this.q.redis.flushAll();
    }
  }

  async #holds(judge: Judge, runs: number): Promise<boolean> {
    const settings = { seed: SEED, numRuns: runs, endOnFailure: true };
    switch (judge) {
      case 'route': {
        const property = fc.asyncProperty(steps, fc.boolean(), (all, finish) =>
          this.#route(all, finish),
        );
        return !(await fc.check(property, settings)).failed;
      }
      case 'blobs': {
        const property = fc.asyncProperty(blobSteps, (all) => new BlobRun(this.q).run(all));
        return !(await fc.check(property, settings)).failed;
      }
      case 'jobs': {
        const property = fc.asyncProperty(jobSteps, maxAttempts, (all, limit) =>
          this.jobs.run(all, limit),
        );
        return !(await fc.check(property, settings)).failed;
      }
    }
  }

  async #route(all: readonly Step[], finish: boolean): Promise<void> {
    this.#routes += 1;
    const route = new RouteRun(this.q, `m${this.#routes}`);
    try {
      await route.run(all);
      if (finish) await route.finish();
    } finally {
      await route.forget();
    }
  }

  async #compiles(lua: string): Promise<boolean> {
    return this.q.data.script('LOAD', lua).then(
      () => true,
      () => false,
    );
  }

  #use(script: ScriptName, lua: string): void {
    this.q.scripts.client.defineCommand(`ferry_${script}`, {
      lua,
      numberOfKeys: SCRIPTS[script],
    });
  }
}
