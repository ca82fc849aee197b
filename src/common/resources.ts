/**
 * `dist/src/`. Every compiled module lies one folder below it at least; this one lies in `common/`,
 * and after bundling in `bundle/`, so that both see the same place.
 */
const COMPILED = new URL('../', import.meta.url);

/**
 * Where something lies that is no module but comes with the program: a script for Redis, a page's
 * style sheet, a program of its own.
 *
 * @param path from `dist/src/`, with slashes
 */
export function resource(path: string): URL {
  return new URL(path, COMPILED);
}
