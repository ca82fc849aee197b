import { type Document, isMap, isPair, type LineCounter } from 'yaml';
import { FerryError } from '../common/errors.js';

/** Where in the configuration something is wrong, as object keys and list indexes. */
export type FieldPath = readonly (string | number)[];

/** One thing that is wrong with the configuration. */
export interface ConfigProblem {
  /** The file as the user named it. */
  file: string;
  line: number;
  column: number;
  /** `journals[0].to`; empty for the file as a whole. */
  field: string;
  message: string;
  /** A line to paste, or a sentence on what to do. */
  hint: string;
}

/** All that is wrong with a configuration file, in the order of its lines. */
export class ConfigError extends FerryError {
  readonly problems: readonly ConfigProblem[];

  constructor(code: string, problems: readonly ConfigProblem[]) {
    const [first] = problems;
    const lines = problems.map((problem) => `${where(problem)}: ${problem.message}`);
    const message =
      problems.length === 1
        ? lines.join('')
        : `${first?.file ?? 'configuration'} has ${problems.length} problems\n${problems
            .map((problem, index) => `  ${lines[index]}\n    ${problem.hint}`)
            .join('\n')}`;
    super(code, message, {
      kind: 'usage',
      ...(problems.length === 1 && first !== undefined ? { hint: first.hint } : {}),
      context: { problems },
    });
    this.problems = problems;
  }
}

function where(problem: ConfigProblem): string {
  const place = `${problem.file}:${problem.line}:${problem.column}`;
  return problem.field === '' ? place : `${place} ${problem.field}`;
}

/** `['journals', 0, 'to']` as `journals[0].to`. */
export function formatField(path: FieldPath): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? part : `${text}.${part}`;
  }, '');
}

/** Collects problems of one file and finds the line of each. */
export class ProblemList {
  readonly #problems: ConfigProblem[] = [];

  constructor(
    private readonly file: string,
    private readonly document: Document,
    private readonly lines: LineCounter,
  ) {}

  get isEmpty(): boolean {
    return this.#problems.length === 0;
  }

  /** Adds a problem at the field, or at the nearest field above it that is written down. */
  add(path: FieldPath, message: string, hint: string): void {
    this.addAt(this.#offset(path), path, message, hint);
  }

  /** Adds a problem at a position of the text. */
  addAt(offset: number, path: FieldPath, message: string, hint: string): void {
    const { line, col } = this.lines.linePos(offset);
    this.#problems.push({
      file: this.file,
      line: Math.max(line, 1),
      column: Math.max(col, 1),
      field: formatField(path),
      message,
      hint,
    });
  }

  /** @throws ConfigError when there is any. */
  throwIfAny(code = 'CONFIG_INVALID'): void {
    if (this.isEmpty) return;
    const sorted = this.#problems.sort((a, b) => a.line - b.line || a.column - b.column);
    throw new ConfigError(code, sorted);
  }

  #offset(path: FieldPath): number {
    for (let length = path.length; length > 0; length -= 1) {
      const parent =
        length === 1
          ? this.document.contents
          : this.document.getIn(path.slice(0, length - 1), true);
      const last = path[length - 1];
      if (isMap(parent)) {
        // The key, not the value: that is where the eye goes, and an unknown field is its key.
        const pair = parent.items.find((item) => isPair(item) && String(item.key) === String(last));
        const offset = rangeStart(pair?.key);
        if (offset !== undefined) return offset;
      }
      const offset = rangeStart(this.document.getIn(path.slice(0, length), true));
      if (offset !== undefined) return offset;
    }
    return rangeStart(this.document.contents) ?? 0;
  }
}

function rangeStart(node: unknown): number | undefined {
  if (typeof node !== 'object' || node === null || !('range' in node)) return undefined;
  return Array.isArray(node.range) && typeof node.range[0] === 'number' ? node.range[0] : undefined;
}
