#!/usr/bin/env node
/**
 * Runs test files in the order of its arguments, some at a time, and prints what `node --test`
 * prints: that one would sort them. The flags are Node's, for every test file.
 *
 *     scripts/runFiles.mjs [--flag ...] CONCURRENCY TIMEOUT_MS file ...
 */
import { relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
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

/**
 * Three files at a time share the processor with whole processes that keep leases and intervals. So
 * a file that fails is run once more, alone, and what it says then counts; that it failed before is
 * said at the end. With more of them it is no accident.
 */
const AGAIN_MAX = 4;

/** By file: when it began, what it has not ended yet, how long it took. */
const begun = new Map();
const open = new Map();
const took = new Map();

const failed = await runAll(files, Number(concurrency));
sayTimes();
let left = failed;
// What a file leaves open is said by the helper that looks: then nobody knows which file it was.
const isKnown = failed.every((file) => files.includes(file));
if (failed.length > 0 && failed.length <= AGAIN_MAX && isKnown) {
  console.log(`\nonce more, alone: ${failed.map(nameOf).join(', ')}\n`);
  left = await runAll(failed, 1);
  for (const file of failed) {
    if (!left.includes(file))
      console.log(`UNSTEADY: ${nameOf(file)} failed beside others, and passed alone`);
  }
}
for (const file of left) console.log(`FAILED: ${nameOf(file)}`);
process.exitCode = left.length > 0 ? 1 : 0;

/** @returns the files that failed */
async function runAll(some, atOnce) {
  const bad = new Set();
  const events = run({ files: some, concurrency: atOnce, timeout: Number(timeoutMs) });
  events
    .on('test:dequeue', ({ name, file }) => {
      if (name === file) begun.set(file, performance.now());
      else open.set(file, [...(open.get(file) ?? []), name]);
    })
    .on('test:complete', ({ name, file }) => {
      if (name === file) took.set(file, performance.now() - (begun.get(file) ?? 0));
      else withdraw(open.get(file) ?? [], name);
    })
    .on('test:fail', ({ name, file }) => {
      bad.add(file ?? name);
    });
  await pipeline(events, new spec(), process.stdout, { end: false });
  return [...bad];
}

function nameOf(file) {
  return relative(ROOT, file);
}

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
    if (ms >= LONG_MS) console.log(`${(ms / 1000).toFixed(1)} s ${nameOf(file)}${where}`);
  }
}
