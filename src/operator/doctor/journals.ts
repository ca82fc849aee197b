/** Journals and blob directories: may this user read, empty and unlink what lies there? */
import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../../common/errors.js';
import type { FerryConfig, JournalConfig, JournalRule } from '../../config/model.js';
import { resolveJournal, ruleFor } from '../../config/routes.js';
import { count, type Examination, type Findings, reasonOf } from './examination.js';
import { exists, lackingRights, ownerHint } from './system.js';

/** Of one rule's journals so many problems are said; the rest is counted. */
const PROBLEMS_SAID_MAX = 10;
const AT_ONCE = 64;

export function journalExaminations(config: FerryConfig): Examination[] {
  return config.journals.map((rule) => ({
    check: 'journal',
    subject: rule.kind === 'path' ? rule.path : join(rule.dir, rule.pattern),
    run: async (findings) => {
      const dir = rule.kind === 'path' ? dirname(rule.path) : rule.dir;
      if (!(await exists(dir))) {
        findings.fail(
          'journal',
          `there is no directory ${dir}`,
          'correct the path, or make it; it is taken up when it comes',
        );
        return;
      }
      if (rule.kind === 'path') await checkJournal(rule.path, findings);
      else await checkMatching(config, rule, findings);
      await checkBlobs(config, rule, findings);
    },
  }));
}

const found = new WeakMap<JournalRule, Promise<JournalConfig[]>>();

/** The journals that there are by a rule; several checks ask, and there may be thousands. */
export function journalsOf(config: FerryConfig, rule: JournalRule): Promise<JournalConfig[]> {
  let journals = found.get(rule);
  if (journals === undefined) {
    journals = findJournals(config, rule);
    found.set(rule, journals);
  }
  return journals;
}

async function findJournals(config: FerryConfig, rule: JournalRule): Promise<JournalConfig[]> {
  if (rule.kind === 'path') return [resolveJournal(rule)];
  const names = await readdir(rule.dir).catch(() => []);
  const journals = await eachOf(names, async (name) => {
    const path = join(rule.dir, name);
    if (ruleFor(config.journals, path) !== rule) return null;
    if (!(await stat(path).catch(() => null))?.isFile()) return null;
    try {
      return resolveJournal(rule, basename(path));
    } catch {
      return null; // its name cannot be a journal's: the producer says so and leaves it alone
    }
  });
  return journals.filter((journal) => journal !== null);
}

/** Many at a time: one after the other thousands would take longer than an examination may. */
async function eachOf<T, R>(items: readonly T[], look: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let from = 0; from < items.length; from += AT_ONCE) {
    results.push(...(await Promise.all(items.slice(from, from + AT_ONCE).map(look))));
  }
  return results;
}

/** A finding about one of many. */
type Problem = [level: 'warn' | 'fail', message: string, hint: string];

/** Says the first ones, and how many more there are. */
function sayProblems(check: string, problems: readonly Problem[], findings: Findings): void {
  const sorted = problems.toSorted((a, b) => a[0].localeCompare(b[0])); // failures first
  for (const problem of sorted.slice(0, PROBLEMS_SAID_MAX)) findings.add(check, ...problem);
  const [level] = sorted[PROBLEMS_SAID_MAX] ?? [];
  if (level === undefined) return;
  const more = `and ${problems.length - PROBLEMS_SAID_MAX} more like these`;
  findings.add(check, level, more, 'correct them likewise');
}

async function checkJournal(path: string, findings: Findings): Promise<void> {
  const problem = await problemOf(path);
  if (problem === null) {
    findings.ok('journal', `readable, and may be emptied; ${(await stat(path)).size} bytes wait`);
  } else findings.add('journal', ...problem);
}

async function checkMatching(
  config: FerryConfig,
  rule: JournalRule & { kind: 'match' },
  findings: Findings,
): Promise<void> {
  const lacking = await lackingRights(rule.dir, ['read', 'enter']);
  if (lacking.length > 0) {
    findings.fail(
      'journal',
      `this user may not ${lacking.join(' and ')} the directory`,
      await ownerHint(rule.dir),
    );
    return;
  }
  const journals = await journalsOf(config, rule);
  const problems = (
    await eachOf(journals, async ({ path }): Promise<Problem | null> => {
      const problem = await problemOf(path);
      return problem === null ? null : [problem[0], `${path}: ${problem[1]}`, problem[2]];
    })
  ).filter((problem) => problem !== null);
  sayProblems('journal', problems, findings);
  const good = journals.length - problems.length;
  if (journals.length === 0) {
    findings.warn(
      'journal',
      'no file fits the pattern now',
      'journals are taken up when they come; else correct the pattern',
    );
  } else if (good > 0) findings.ok('journal', `${count(good, 'journal')} may be read and emptied`);
}

/** What keeps a file from being captured; null for nothing. */
async function problemOf(path: string): Promise<Problem | null> {
  try {
    if (!(await stat(path)).isFile()) {
      return ['fail', 'is no file', 'name the journal itself'];
    }
    // Opened as a capture opens it, which also finds files that may only be appended to.
    await (await open(path, constants.O_RDWR | constants.O_NONBLOCK)).close();
    return null;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') {
      return [
        'warn',
        'is not there',
        'it is taken up when its writer makes it; is the path right?',
      ];
    }
    if (code === 'EPERM') {
      return [
        'fail',
        'may not be emptied (EPERM)',
        `take the attribute away: chattr -a -i ${path}`,
      ];
    }
    if (code === 'EACCES') {
      const lacking = await lackingRights(path, ['read', 'write']);
      const right = lacking.join(' and ') || 'reach';
      return ['fail', `this user may not ${right} it`, await hintFor(path)];
    }
    return ['fail', `cannot be opened for writing (${reasonOf(error)})`, 'look at its file system'];
  }
}

async function hintFor(path: string): Promise<string> {
  return ownerHint(path).catch(() => ownerHint(dirname(path)));
}

async function checkBlobs(
  config: FerryConfig,
  rule: JournalRule,
  findings: Findings,
): Promise<void> {
  if (rule.blobs === null) return;
  const journals = await journalsOf(config, rule);
  const problems = (
    await eachOf(journals, ({ blobsDir }) => problemOfBlobs(blobsDir ?? ''))
  ).filter((problem) => problem !== null);
  sayProblems('blobs', problems, findings);
  const good = journals.length - problems.length;
  if (good > 0)
    findings.ok('blobs', `${good === 1 ? 'directory' : `${good} directories`} writable`);
}

async function problemOfBlobs(directory: string): Promise<Problem | null> {
  if (!(await exists(directory))) {
    const hint = 'make it, or correct blobs; it is taken up when it comes';
    return ['warn', `there is no directory ${directory}`, hint];
  }
  const lacking = await lackingRights(directory, ['read', 'write', 'enter']);
  if (lacking.length === 0) return null;
  return [
    'fail',
    `${directory}: this user may not ${lacking.join(', ')}, and so not remove links`,
    await ownerHint(directory),
  ];
}
