import { FerryError } from '../common/errors.js';
import { parseRouteName } from '../common/identity.js';
import { globToRegExp } from '../config/glob.js';

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
