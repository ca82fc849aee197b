import type { z } from 'zod';
import type { FieldPath, ProblemList } from './problems.js';
import { sampleHint, unknownFieldHint } from './samples.js';

type Issue = z.core.$ZodIssue;

/** Turns what the schema found into problems with lines and hints. */
export function addSchemaIssues(
  issues: readonly Issue[],
  root: unknown,
  problems: ProblemList,
): void {
  for (const issue of issues) addIssue(issue, [], root, problems);
}

function addIssue(issue: Issue, above: FieldPath, root: unknown, problems: ProblemList): void {
  const path: FieldPath = [...above, ...issue.path.map(asStep)];
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) {
      const field = [...path, key];
      problems.add(field, 'unknown field', unknownFieldHint(field));
    }
    return;
  }
  if (issue.code === 'invalid_key') {
    problems.add(path, issue.issues[0]?.message ?? issue.message, sampleHint(path));
    return;
  }
  if (issue.code === 'invalid_union') {
    const meant = meantBranch(issue.errors);
    if (meant !== undefined) {
      for (const inner of meant) addIssue(inner, path, root, problems);
      return;
    }
  }
  const value = valueAt(root, path);
  const message = value === undefined ? 'required field is missing' : sentence(issue, value, path);
  problems.add(path, message, sampleHint(path));
}

/**
 * The alternative that was meant is the one whose inside is wrong, not its kind; of several, the
 * one that knows all the fields, then the one with fewer complaints.
 */
function meantBranch(branches: readonly Issue[][]): Issue[] | undefined {
  const unknown = (branch: readonly Issue[]) =>
    branch.filter(({ code }) => code === 'unrecognized_keys').length;
  return branches
    .filter((branch) => branch.some(isInside))
    .sort((a, b) => unknown(a) - unknown(b) || a.length - b.length)[0];
}

function isInside(issue: Issue): boolean {
  return issue.path.length > 0 || issue.code === 'unrecognized_keys' || issue.code === 'custom';
}

function sentence(issue: Issue, value: unknown, path: FieldPath): string {
  const isQuotable = isSecretFree(value) && !isSecretField(path);
  const found = isQuotable ? `, found ${JSON.stringify(value)}` : '';
  if (issue.code === 'invalid_value') return `expected ${issue.values.join(' or ')}${found}`;
  if (issue.code === 'invalid_type') {
    const text = /^Invalid/.test(issue.message) ? `expected ${issue.expected}` : issue.message;
    return `${text}${found}`;
  }
  if (issue.code === 'too_small' && issue.origin === 'array') return 'expected at least one entry';
  return `${issue.message}${issue.message.startsWith('expected') ? found : ''}`;
}

/** Whether what stands there, or below it, is a secret, even where it is no valid one. */
function isSecretField(path: FieldPath): boolean {
  return path.some((step) => typeof step === 'string' && SECRET_FIELDS.has(step));
}

/** `key` names a file most often; somebody may have written the key itself there. */
const SECRET_FIELDS: ReadonlySet<string> = new Set(['password', 'scrypt', 'key', 'text', 'keys']);

/** Whether a value may be quoted: short and plain. Long texts may be keys. */
function isSecretFree(value: unknown): boolean {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return true;
  return typeof value === 'string' && value.length <= 60 && !/:\/\/|[\r\n]/.test(value);
}

function asStep(key: PropertyKey): string | number {
  return typeof key === 'number' ? key : String(key);
}

function valueAt(root: unknown, path: FieldPath): unknown {
  return path.reduce<unknown>((value, step) => {
    if (typeof value !== 'object' || value === null) return undefined;
    return Reflect.get(value, step);
  }, root);
}
