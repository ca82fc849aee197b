import { type Document, isPair, isScalar, isSeq, visit } from 'yaml';
import type { FieldPath, ProblemList } from './problems.js';

/** Variables as `process.env` holds them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** `$${` stands for a plain `${`. */
const VARIABLE = /\$(\$\{)|\$\{([^}]*)\}/g;

/** Replaces `${NAME}` in every value of the document; a missing variable is a problem. */
export function expandEnvironment(
  document: Document,
  environment: Environment,
  problems: ProblemList,
): void {
  visit(document, {
    Scalar(key, node, ancestors) {
      if (key === 'key' || typeof node.value !== 'string' || !node.value.includes('${')) return;
      const offset = node.range?.[0] ?? 0;
      node.value = node.value.replace(
        VARIABLE,
        (_all, escaped: string | undefined, name: string) => {
          if (escaped !== undefined) return escaped;
          const value = environment[name];
          if (value !== undefined) return value;
          problems.addAt(
            offset,
            fieldOf([...ancestors, node]),
            `the environment variable ${name === '' ? '(no name)' : name} is not set`,
            `export ${name === '' ? 'NAME' : name}=...`,
          );
          return '';
        },
      );
    },
  });
}

/** The way down to a node: mapping keys and list indexes. */
function fieldOf(nodes: readonly unknown[]): FieldPath {
  const path: (string | number)[] = [];
  nodes.forEach((node, index) => {
    if (isPair(node) && isScalar(node.key)) path.push(String(node.key.value));
    else if (isSeq(node)) path.push(node.items.indexOf(nodes[index + 1]));
  });
  return path;
}
