import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { FerryError, systemCode } from '../common/errors.js';
import { checkConfig, checkDocument } from './checks.js';
import { type Environment, expandEnvironment } from './environment.js';
import { addSchemaIssues } from './issues.js';
import type { FerryConfig } from './model.js';
import { ProblemList } from './problems.js';
import { resolveDocument } from './resolve.js';
import { ferrySchema } from './schema.js';

export interface ParseOptions {
  /** The file as the user named it: for messages, and its directory is where paths begin. */
  file: string;
  /** Default: the process's own. */
  env?: Environment;
}

/**
 * Reads, checks and resolves a configuration file.
 *
 * @throws ConfigError with everything that is wrong; FerryError CONFIG_NOT_FOUND, CONFIG_UNREADABLE.
 */
export function loadConfig(file: string, env: Environment = process.env): FerryConfig {
  return parseConfig(readConfigFile(file), { file, env });
}

/**
 * The same for a text that is already in memory.
 *
 * Later checks run only when the earlier ones passed: a reference to a destination that could not
 * be read would only make noise.
 *
 * @throws ConfigError
 */
export function parseConfig(text: string, options: ParseOptions): FerryConfig {
  const { file, env = process.env } = options;
  const lines = new LineCounter();
  // `merge` allows `<<: *common`, which people with ten journals will want.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
  const problems = new ProblemList(file, document, lines);
  addSyntaxProblems(text, [...document.errors, ...document.warnings], problems);
  problems.throwIfAny('CONFIG_SYNTAX');

  expandEnvironment(document, env, problems);
  problems.throwIfAny();

  const raw: unknown = toPlain(document, problems) ?? {};
  problems.throwIfAny('CONFIG_SYNTAX');
  const parsed = ferrySchema.safeParse(raw);
  if (!parsed.success) {
    addSchemaIssues(parsed.error.issues, raw, problems);
    problems.throwIfAny();
    throw parsed.error;
  }
  checkDocument(parsed.data, env, problems);
  problems.throwIfAny();

  const absoluteFile = resolve(file);
  const config = resolveDocument(parsed.data, absoluteFile, dirname(absoluteFile), env);
  checkConfig(config, problems);
  problems.throwIfAny();
  return config;
}

/** What stands behind an unquoted `${NAME}` between braces only makes noise. */
function addSyntaxProblems(
  text: string,
  errors: readonly { pos: [number, number]; message: string }[],
  problems: ProblemList,
): void {
  const variable = errors.find(({ pos: [at] }) => text.slice(at - 1, at + 1) === '${');
  if (variable !== undefined) {
    const [at] = variable.pos;
    const name = /^\{(\w*)\}/.exec(text.slice(at))?.[1] ?? 'NAME';
    problems.addAt(at, [], 'a variable in braces must be quoted', `write: "\${${name}}"`);
    return;
  }
  for (const { pos, message } of errors) {
    problems.addAt(pos[0], [], message, 'fix the YAML; indent with spaces');
  }
}

/** Plain objects; an alias without anchor or a bomb of aliases is a problem here. */
function toPlain(document: ReturnType<typeof parseDocument>, problems: ProblemList): unknown {
  try {
    return document.toJS();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    problems.addAt(0, [], message, 'fix the YAML alias');
    return undefined;
  }
}

function readConfigFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const missing = systemCode(error) === 'ENOENT';
    throw new FerryError(
      missing ? 'CONFIG_NOT_FOUND' : 'CONFIG_UNREADABLE',
      missing
        ? `there is no configuration file ${file}`
        : `cannot read the configuration file ${file} (${systemCode(error) ?? String(error)})`,
      {
        kind: 'usage',
        hint: missing
          ? 'name it with: -c path/to/ferry.yaml'
          : 'check that it is a file and that you may read it',
        context: { file },
        cause: error,
      },
    );
  }
}
