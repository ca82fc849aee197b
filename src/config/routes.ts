import { basename, dirname, join, sep } from 'node:path';
import { FerryError } from '../common/errors.js';
import { routeName } from '../common/identity.js';
import { JOURNAL_NAME_FORBIDDEN, nameProblem } from './fields.js';
import { globToRegExp } from './glob.js';
import type {
  DestinationConfig,
  FerryConfig,
  JournalConfig,
  JournalRule,
  WireDestination,
} from './model.js';

/** `{journal}` replaced by the journal's name. */
export function expandTemplate(template: string, journal: string): string {
  // split/join, because `$` in a name means something to String.replace.
  return template.split('{journal}').join(journal);
}

/** The url of a route, without leading slash. */
export function routeUrl(destination: WireDestination, journal: string): string {
  return expandTemplate(destination.url, journal);
}

/** Whether some destination of the journal speaks the dialect of 2015, whose blob links have any name. */
export function takesEveryLink(
  journal: JournalConfig,
  destinations: ReadonlyMap<string, DestinationConfig>,
): boolean {
  return journal.to.some(({ destination: name }) => {
    const destination = destinations.get(name);
    return destination?.kind === 'wire' && destination.dialect === 'eof';
  });
}

/** Whether a file name of the rule's directory is a journal by this rule. */
export function ruleMatches(rule: JournalRule, fileName: string): boolean {
  if (rule.kind === 'path') return basename(rule.path) === fileName;
  if (!globToRegExp(rule.pattern).test(fileName)) return false;
  return !rule.exclude.some((pattern) => globToRegExp(pattern).test(fileName));
}

/** The rule that makes a file a journal: exact paths first, then patterns in their order. */
export function ruleFor(rules: readonly JournalRule[], path: string): JournalRule | null {
  const exact = rules.find((rule) => rule.kind === 'path' && rule.path === path);
  if (exact !== undefined) return exact;
  const directory = dirname(path);
  return (
    rules.find(
      (rule) =>
        rule.kind === 'match' && rule.dir === directory && ruleMatches(rule, basename(path)),
    ) ?? null
  );
}

/**
 * One journal with its name and templates filled in. `fileName` is needed for a `match` rule only.
 *
 * @throws FerryError JOURNAL_NAME when the file's name cannot be a journal's.
 */
export function resolveJournal(rule: JournalRule, fileName?: string): JournalConfig {
  const name = rule.kind === 'path' ? rule.name : (fileName ?? '');
  const path = rule.kind === 'path' ? rule.path : join(rule.dir, name);
  const problem = nameProblem(name, JOURNAL_NAME_FORBIDDEN);
  if (problem !== null) {
    throw new FerryError('JOURNAL_NAME', `${path} cannot be a journal: ${problem}`, {
      kind: 'usage',
      hint: `rename the file or add it to the rule's exclude: [${JSON.stringify(name)}]`,
      context: { path },
    });
  }
  return {
    name,
    path,
    blobsDir: rule.blobs === null ? null : expandTemplate(rule.blobs, name),
    to: rule.to,
    intervalMs: rule.intervalMs,
    attempts: rule.attempts,
    flush: rule.flush,
    limits: rule.limits,
  };
}

/** The journal that a file is, or null when no rule names it. */
export function journalFor(config: FerryConfig, path: string): JournalConfig | null {
  const rule = ruleFor(config.journals, path);
  return rule === null ? null : resolveJournal(rule, basename(path));
}

/** Two things that must not be the same, as an error to report. */
export interface Collision {
  /** The journal that came second; the first keeps its right. */
  journal: JournalConfig;
  error: FerryError;
}

/** Checks journals against each other: names, files, blob directories, and where routes lead. */
export function checkCollisions(
  journals: readonly JournalConfig[],
  destinations: ReadonlyMap<string, DestinationConfig>,
): Collision[] {
  const claims = new JournalClaims(destinations);
  return journals.flatMap((journal) => claims.take(journal).map((error) => ({ journal, error })));
}

/**
 * What journals have to themselves. With `match` rules new journals appear while the program runs,
 * thousands of them: each is compared with all others at once.
 */
export class JournalClaims {
  readonly #destinations: ReadonlyMap<string, DestinationConfig>;
  readonly #taken = new Map<string, { journal: JournalConfig; owner: string }>();

  constructor(destinations: ReadonlyMap<string, DestinationConfig>) {
    this.#destinations = destinations;
  }

  /** Takes what is free of what the journal needs. @returns what another one has already */
  take(journal: JournalConfig): FerryError[] {
    const { name, path, blobsDir } = journal;
    const errors: FerryError[] = [];
    const claim = (key: string, owner: string, message: string, hint: string): void => {
      const other = this.#taken.get(key);
      if (other === undefined) this.#taken.set(key, { journal, owner });
      else
        errors.push(
          collision(
            journal,
            message.replace('%s', () => other.owner),
            hint,
          ),
        );
    };
    claim(
      `name ${name}`,
      path,
      `two journals are named ${JSON.stringify(name)} (%s and ${path})`,
      `give one another name: name: ${name}2`,
    );
    // With one name they clash in everything that is made of it: once said is enough.
    if (errors.length > 0) return errors;
    claim(
      `path ${path}`,
      name,
      `journals %s and ${name} are the same file ${path}`,
      'remove one; a journal may have several destinations: to: [a, b]',
    );
    if (blobsDir !== null) {
      claim(
        `blobs ${stripSeparator(blobsDir)}`,
        name,
        `journals %s and ${name} share the blob directory ${blobsDir}`,
        'give each its own: blobs: blob/{journal}/',
      );
    }
    for (const { destination: destinationName } of journal.to) {
      const destination = this.#destinations.get(destinationName);
      if (destination?.kind !== 'wire') continue;
      const url = routeUrl(destination, name);
      const route = routeName(name, destinationName);
      claim(
        `place ${destination.host.toLowerCase()} ${destination.port} ${url}`,
        route,
        `routes %s and ${route} lead to one place, ${destination.host}:${destination.port}/${url}`,
        'make the urls differ: url: "{journal}.r/!replica"',
      );
    }
    return errors;
  }

  /** Gives back what the journal has taken. */
  giveBack(journal: JournalConfig): void {
    for (const [key, taken] of this.#taken) {
      if (taken.journal === journal) this.#taken.delete(key);
    }
  }
}

function collision(journal: JournalConfig, message: string, hint: string): FerryError {
  const context = { journal: journal.name, path: journal.path };
  return new FerryError('JOURNAL_COLLISION', message, { kind: 'usage', hint, context });
}

function stripSeparator(path: string): string {
  return path.length > 1 && path.endsWith(sep) ? path.slice(0, -1) : path;
}
