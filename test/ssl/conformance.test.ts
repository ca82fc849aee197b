/**
 * The command line of the real `bin/ssl` and ours, case by case: the same words, the same files,
 * servers that do the same. What is compared: the application bytes of every connection, standard
 * output, the exit code, and what the directory holds afterwards.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, describe, test } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { requirePicolisp } from '../support/picolisp.js';
import { until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import type { Case } from './cases.js';
import { connectionCases } from './connectionCases.js';
import { daemonCases } from './daemonCases.js';
import { processesOf } from './daemons.js';
import { folderCases } from './folderCases.js';
import { oneShotCases } from './oneShotCases.js';
import { type Entry, type Outcome, Side } from './programs.js';
import { troubleCases } from './troubleCases.js';

requirePicolisp();
/** Shared by all daemons of ours, as those of one user share one. */
const stateDir = tempDir();
after(() =>
  until('the last daemon has taken Redis with it', () => processesOf(stateDir).length === 0),
);
failOnLeaks();

const AT_ONCE = 4;

async function playCase(one: Case, index: number): Promise<void> {
  // Both names are used; a case keeps its own.
  const entry: Entry = index % 2 === 0 ? 'ferry ssl' : 'ferry-ssl';
  const sides = await Promise.all(
    [null, entry].map(async (who) => {
      return new Side(who, (await one.server?.()) ?? null, stateDir, one.files ?? {});
    }),
  );
  try {
    const [real, ours] = await Promise.all(
      sides.map(async (side) => {
        await one.play(side);
        return comparable(side.outcome(), one);
      }),
    );
    const oursProcess = sides[1]?.process;
    if (one.realSays !== undefined) assert.match(sides[0]?.process.stderr ?? '', one.realSays);
    assertHas(real, one.real, 'the real program does what the case says');
    if (ours !== undefined)
      assert.deepEqual(shorten(ours), shorten({ ...real, ...one.differs } as Outcome), 'ours');
    if (ours !== undefined && one.says !== undefined)
      assert.match(oursProcess?.stderr ?? '', one.says);
  } finally {
    await Promise.all(sides.map((side) => side.tidy()));
  }
}

function comparable(outcome: Outcome, one: Case): Outcome {
  let { received } = outcome;
  if (one.distinct === true) received = [...new Set(received)];
  if (one.anyOrder === true) received = received.toSorted();
  return { ...outcome, received };
}

function assertHas(outcome: Outcome | undefined, part: Partial<Outcome>, what: string): void {
  assert.deepEqual(shorten({ ...outcome, ...part } as Outcome), shorten(outcome), what);
}

const SHOWN_CHARACTERS_MAX = 2_000;

/** Megabytes in a message help nobody: they are compared by digest. */
function shorten(outcome: Partial<Outcome> | undefined): unknown {
  const sorted = { ...outcome, files: outcome?.files?.toSorted() };
  return JSON.parse(JSON.stringify(sorted), (_key, value: unknown) => {
    if (typeof value !== 'string' || value.length <= SHOWN_CHARACTERS_MAX) return value;
    return `${value.slice(0, SHOWN_CHARACTERS_MAX)}... ${value.length} ${digest(value)}`;
  });
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

describe('one connection', { concurrency: AT_ONCE }, () => {
  for (const [index, one] of [...oneShotCases, ...connectionCases].entries()) {
    test(one.name, () => playCase(one, index));
  }
});

describe('the daemon', { concurrency: AT_ONCE }, () => {
  for (const [index, one] of [...daemonCases, ...folderCases, ...troubleCases].entries()) {
    test(one.name, () => playCase(one, index));
  }
});
