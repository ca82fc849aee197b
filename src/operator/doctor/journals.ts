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

/** The journals that there are now by a rule. */
export async function journalsOf(config: FerryConfig, rule: JournalRule): Promise<JournalConfig[]> {
  if (rule.kind === 'path') return [resolveJournal(rule)];
  const journals: JournalConfig[] = [];
  for (const name of await readdir(rule.dir).catch(() => [])) {
    const path = join(rule.dir, name);
    if (ruleFor(config.journals, path) !== rule) continue;
    if (!(await stat(path).catch(() => null))?.isFile()) continue;
    try {
      journals.push(resolveJournal(rule, basename(path)));
    } catch {
      // Its name cannot be a journal's: the producer says so and leaves it alone.
    }
  }
  return journals;
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
  let good = 0;
  let bad = 0;
  for (const { path } of journals) {
    const problem = await problemOf(path);
    if (problem === null) good += 1;
    else {
      bad += 1;
      const [level, message, hint] = problem;
      if (bad <= PROBLEMS_SAID_MAX) findings.add('journal', level, `${path}: ${message}`, hint);
    }
  }
  if (bad > PROBLEMS_SAID_MAX) {
    findings.fail(
      'journal',
      `and ${bad - PROBLEMS_SAID_MAX} more like these`,
      'correct them likewise',
    );
  }
  if (journals.length === 0) {
    findings.warn(
      'journal',
      'no file fits the pattern now',
      'journals are taken up when they come; else correct the pattern',
    );
  } else if (good > 0) findings.ok('journal', `${count(good, 'journal')} may be read and emptied`);
}

/** What keeps a file from being captured; null for nothing. */
async function problemOf(
  path: string,
): Promise<['warn' | 'fail', message: string, hint: string] | null> {
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
  let good = 0;
  for (const { blobsDir } of await journalsOf(config, rule)) {
    if (blobsDir === null) continue;
    if (!(await exists(blobsDir))) {
      findings.warn(
        'blobs',
        `there is no directory ${blobsDir}`,
        'make it, or correct blobs; it is taken up when it comes',
      );
      continue;
    }
    const lacking = await lackingRights(blobsDir, ['read', 'write', 'enter']);
    if (lacking.length === 0) good += 1;
    else {
      findings.fail(
        'blobs',
        `${blobsDir}: this user may not ${lacking.join(', ')}, and so not remove links`,
        await ownerHint(blobsDir),
      );
    }
  }
  if (good > 0)
    findings.ok('blobs', `${good === 1 ? 'directory' : `${good} directories`} writable`);
}
