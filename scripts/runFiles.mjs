#!/usr/bin/env node
/**
 * Runs test files in the order of its arguments, some at a time, and prints what `node --test`
 * prints: that one would sort them. The flags are Node's, for every test file.
 *
 *     scripts/runFiles.mjs [--flag ...] CONCURRENCY TIMEOUT_MS file ...
 */
import { relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { ROOT } from './shared.mjs';

/** A file that takes longer is named at the end, so that its place in the order is known. */
const LONG_MS = 10_000;

const words = process.argv.slice(2);
const isFlag = (word) => word.startsWith('--');
const [concurrency = '', timeoutMs = '', ...files] = words.filter((word) => !isFlag(word));
// What `run` starts test files with. This process must not have them: forced to exit at the end,
// it would not print what went wrong.
process.execArgv.push(...words.filter(isFlag));

/** By file: when it began, what it has not ended yet, how long it took. */
const begun = new Map();
const open = new Map();
const took = new Map();

const events = run({ files, concurrency: Number(concurrency), timeout: Number(timeoutMs) });
events
  .on('test:dequeue', ({ name, file }) => {
    if (name === file) begun.set(file, performance.now());
    else open.set(file, [...(open.get(file) ?? []), name]);
  })
  .on('test:complete', ({ name, file }) => {
    if (name === file) took.set(file, performance.now() - (begun.get(file) ?? 0));
    else withdraw(open.get(file) ?? [], name);
  })
  .on('test:fail', () => {
    process.exitCode = 1;
  });
events.compose(new spec()).on('end', sayTimes).pipe(process.stdout);

function withdraw(names, name) {
  const at = names.lastIndexOf(name);
  if (at >= 0) names.splice(at, 1);
}

/** The longest files, and where one was that had to be ended. */
function sayTimes() {
  const all = [...took].sort(([, a], [, b]) => b - a);
  for (const [file, ms] of all) {
    const at = ms >= Number(timeoutMs) ? (open.get(file) ?? []) : [];
    const where = at.length === 0 ? '' : `, ended in: ${at.join(' > ')}`;
    if (ms >= LONG_MS) console.log(`${(ms / 1000).toFixed(1)} s ${relative(ROOT, file)}${where}`);
  }
}
