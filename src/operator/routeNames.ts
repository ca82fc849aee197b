import { FerryError } from '../common/errors.js';
import { parseRouteName } from '../common/identity.js';
import { globToRegExp } from '../config/glob.js';
import type { FerryConfig } from '../config/model.js';

/**
 * The routes that an operator's word for them names: a route, a glob, or a journal's name where it
 * has one route only.
 *
 * @param routes those that there are, sorted
 * @throws FerryError ROUTE_UNKNOWN (kind usage), ROUTE_AMBIGUOUS (kind usage)
 */
export function routesNamed(pattern: string, routes: readonly string[]): string[] {
  const exact = routes.filter((route) => route === pattern);
  if (exact.length > 0) return exact;
  const ofJournal = routes.filter((route) => parseRouteName(route).journal === pattern);
  if (ofJournal.length === 1) return ofJournal;
  if (ofJournal.length > 1) {
    throw new FerryError('ROUTE_AMBIGUOUS', `journal ${pattern} has ${ofJournal.length} routes`, {
      kind: 'usage',
      hint: `name one of ${ofJournal.join(', ')}, or all of them: '${pattern}@*'`,
    });
  }
  return routesLike(pattern, routes);
}

/** Like `routesNamed`, but a look harms nothing: a journal's name means all its routes. */
export function routesShown(pattern: string, routes: readonly string[]): string[] {
  const named = routes.filter(
    (route) => route === pattern || parseRouteName(route).journal === pattern,
  );
  return named.length > 0 ? named : routesLike(pattern, routes);
}

function routesLike(pattern: string, routes: readonly string[]): string[] {
  const glob = globToRegExp(pattern);
  const matching = routes.filter((route) => glob.test(route));
  if (matching.length > 0) return matching;
  throw new FerryError('ROUTE_UNKNOWN', `no route is named ${pattern}`, {
    kind: 'usage',
    hint: 'ferry status lists them; a route is known once its journal was captured',
  });
}

/**
 * The one route that is meant, for what is said about one only.
 *
 * @throws FerryError as `routesNamed`, and ROUTE_AMBIGUOUS for a glob that fits several
 */
export function routeNamed(name: string, routes: readonly string[]): string {
  const [route, ...others] = routesNamed(name, routes);
  if (route !== undefined && others.length === 0) return route;
  throw new FerryError('ROUTE_AMBIGUOUS', `${name} names ${others.length + 1} routes`, {
    kind: 'usage',
    hint: `this is said about one route at a time: ${[route, ...others].join(', ')}`,
  });
}

/**
 * Does something about a route in each pipeline that knows it: of `ferry ssl` daemons, each has its
 * own routes.
 *
 * @returns what came of it, one per pipeline that knows the route; at least one
 * @throws FerryError ROUTE_UNKNOWN when none does, and whatever else `act` throws
 */
export async function whereKnown<T>(
  configs: readonly FerryConfig[],
  act: (config: FerryConfig) => Promise<T>,
): Promise<[T, ...T[]]> {
  const done: T[] = [];
  let unknown: unknown;
  for (const config of configs) {
    try {
      done.push(await act(config));
    } catch (error) {
      if (!(error instanceof FerryError) || error.code !== 'ROUTE_UNKNOWN') throw error;
      unknown = error;
    }
  }
  const [first, ...others] = done;
  if (first === undefined) throw unknown;
  return [first, ...others];
}
