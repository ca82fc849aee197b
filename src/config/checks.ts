import { dirname, relative, resolve, sep } from 'node:path';
import { parsePasswordHash } from '../common/password.js';
import type { Environment } from './environment.js';
import { isGlob } from './glob.js';
import type { FerryConfig } from './model.js';
import type { FieldPath, ProblemList } from './problems.js';
import { targetsOf } from './resolve.js';
import { checkCollisions, resolveJournal, ruleFor } from './routes.js';
import type { FerryDocument } from './schema.js';

/** Checks of the text that must pass before it can be resolved: which fields go together. */
export function checkDocument(
  document: FerryDocument,
  environment: Environment,
  problems: ProblemList,
): void {
  // A worker's file names destinations only.
  const names = document.journals.length + Object.keys(document.destinations).length;
  const { receiver, dashboard } = document;
  if (names === 0 && receiver === undefined && dashboard === undefined) {
    problems.add(
      [],
      'nothing is configured: neither journals, destinations, a receiver nor a dashboard',
      'write for example: journals: [{name: foo, path: fifo/foo, to: replica}]',
    );
  }
  checkRedis(document, environment, problems);
  checkJournals(document, problems);
  checkDestinations(document, problems);
  checkDashboard(document, problems);
  checkReceiver(document, problems);
}

function checkRedis(
  document: FerryDocument,
  environment: Environment,
  problems: ProblemList,
): void {
  const { redis } = document;
  if (typeof redis === 'string') return;
  const ways = [redis.url, redis.sentinels, redis.cluster].filter((way) => way !== undefined);
  if (ways.length > 1) {
    problems.add(
      ['redis'],
      'url, sentinels and cluster exclude each other',
      'keep one of them: redis: {url: redis://127.0.0.1:6379}',
    );
  }
  const remote = ['username', 'password', 'tls'].filter((field) => field in redis);
  if ((ways.length === 0 || redis.url === 'embedded') && remote.length > 0) {
    problems.add(
      ['redis', remote[0] ?? ''],
      `${remote.join(', ')}: only for a Redis with a url`,
      'add for example: url: redis://127.0.0.1:6379',
    );
  }
  const { password } = redis;
  if (typeof password === 'object') {
    checkVariable(['redis', 'password', 'env'], password.env, environment, problems);
  }
}

function checkVariable(
  path: FieldPath,
  name: string,
  environment: Environment,
  problems: ProblemList,
): void {
  if ((environment[name] ?? '') !== '') return;
  problems.add(path, `the environment variable ${name} is not set`, `export ${name}=...`);
}

function checkJournals(document: FerryDocument, problems: ProblemList): void {
  const names = Object.keys(document.destinations);
  document.journals.forEach((journal, index) => {
    const at: FieldPath = ['journals', index];
    if ((journal.path === undefined) === (journal.match === undefined)) {
      problems.add(
        at,
        journal.path === undefined
          ? 'a journal needs path (one file) or match (many)'
          : 'path and match exclude each other',
        'write for example: path: fifo/foo',
      );
    }
    if (journal.match !== undefined) {
      checkMatch(journal.match, at, problems);
      if (journal.name !== undefined) {
        problems.add(
          [...at, 'name'],
          'journals of a match rule are named after their files',
          'remove name, or replace match by path: fifo/foo',
        );
      }
      if (journal.blobs !== undefined && !journal.blobs.includes('{journal}')) {
        problems.add(
          [...at, 'blobs'],
          'all journals of this rule would share one blob directory',
          'write for example: blobs: blob/{journal}/',
        );
      }
    } else if (journal.exclude !== undefined) {
      problems.add([...at, 'exclude'], 'exclude is for match rules', 'remove exclude');
    }
    const targets = targetsOf(journal.to).map((target) => target.destination);
    if (targets.length === 0) {
      problems.add([...at, 'to'], 'no destination is named', 'write for example: to: replica');
    }
    targets.forEach((name, position) => {
      const known = names.includes(name);
      if (known && targets.indexOf(name) === position) return;
      const field = Array.isArray(journal.to) ? [...at, 'to', position] : [...at, 'to'];
      problems.add(
        field,
        known
          ? `destination ${name} is named twice`
          : `unknown destination ${JSON.stringify(name)}`,
        known
          ? 'name it once'
          : names.length > 0
            ? `known destinations: ${names.join(', ')}; write for example: to: ${names[0]}`
            : 'add: destinations: {replica: {host: replica.example.com, url: "foo.r/!replica", key: ./key/server}}',
      );
    });
  });
}

function checkMatch(pattern: string, at: FieldPath, problems: ProblemList): void {
  const field = [...at, 'match'];
  if (isGlob(dirname(pattern))) {
    problems.add(
      field,
      'a pattern may stand in the last part of the path only',
      'write one rule per directory: match: fifo/*',
    );
  }
  if (pattern.endsWith('/')) {
    problems.add(field, 'match names files, not a directory', `write: match: ${pattern}*`);
  }
}

function checkDestinations(document: FerryDocument, problems: ProblemList): void {
  const olds = new Map<string, string>();
  for (const [name, destination] of Object.entries(document.destinations)) {
    const at: FieldPath = ['destinations', name];
    if ('dialect' in destination && destination.dialect === 'h2' && !destination.identity) {
      problems.add(
        [...at, 'identity'],
        'over HTTP/2 the receiver knows a batch by its identity: it cannot be left out',
        'leave it out, or write: identity: true',
      );
    }
    if (
      'tls' in destination &&
      (destination.tls.cert === undefined) !== (destination.tls.key === undefined)
    ) {
      problems.add(
        [...at, 'tls'],
        'a certificate needs its key, and a key its certificate',
        'write both: tls: {cert: ./client.pem, key: ./client.key}',
      );
    }
    for (const old of destination.was) {
      const other = olds.get(old);
      if (old in document.destinations || other !== undefined) {
        problems.add(
          [...at, 'was'],
          `${old} is still ${other === undefined ? 'a destination of its own' : `claimed by ${other}`}`,
          'name only names that are no longer in use',
        );
      }
      olds.set(old, name);
    }
  }
}

/** Whether only this machine can reach a listener at the address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(host);
}

function checkDashboard(document: FerryDocument, problems: ProblemList): void {
  const { dashboard } = document;
  if (dashboard === undefined) return;
  if (!isLoopback(dashboard.listen.host) && dashboard.users.length === 0) {
    problems.add(
      ['dashboard', 'listen'],
      `the dashboard would be open to anybody at ${dashboard.listen.host}`,
      'add: users: [{name: ops, password: {env: FERRY_PASSWORD}}], or listen: 127.0.0.1:3000',
    );
  }
  dashboard.users.forEach((user, index) => {
    const at: FieldPath = ['dashboard', 'users', index];
    // Variables and files are for who runs it: `ferry status` is asked from other shells, too.
    if ('scrypt' in user.password && parsePasswordHash(user.password.scrypt) === null) {
      problems.add(
        [...at, 'password', 'scrypt'],
        'this is no hash that ferry dashboard --hash-password has made',
        'ferry dashboard --hash-password reads a password from standard input and prints it',
      );
    }
    if (dashboard.users.findIndex(({ name }) => name === user.name) !== index) {
      problems.add([...at, 'name'], `two users are named ${user.name}`, 'remove one');
    }
  });
}

function checkReceiver(document: FerryDocument, problems: ProblemList): void {
  const { receiver } = document;
  if (receiver === undefined) return;
  if (receiver.tls === 'off' && !isLoopback(receiver.listen.host)) {
    problems.add(
      ['receiver', 'listen'],
      `without TLS anybody between could read keys and data at ${receiver.listen.host}`,
      'listen on loopback, behind a gate on this host: listen: "[::1]:4443"; or give tls: {cert: ./cert.pem, key: ./key.pem}',
    );
  }
  if (receiver.tls === 'off' && receiver.dialect === 'h2') {
    problems.add(
      ['receiver', 'dialect'],
      'HTTP/2 is chosen in the TLS handshake: there is none with tls: off',
      'write: dialect: acked, or give tls: {cert: ./cert.pem, key: ./key.pem}',
    );
  }
  receiver.apps.forEach((app, index) => {
    if (app.ack === 'applied' && app.apply === undefined) {
      problems.add(
        ['receiver', 'apps', index, 'ack'],
        'ack: applied needs an apply command',
        'write: ack: stored, or add for example: apply: ["sh", "-c", "cat >> replica.log"]',
      );
    }
    if (receiver.apps.findIndex(({ name }) => name === app.name) === index) return;
    problems.add(
      ['receiver', 'apps', index, 'name'],
      `two apps are named ${app.name}`,
      'list the keys of both in one: keys: [./key/a, ./key/b]',
    );
  });
}

/** Checks that need paths: what lies where, and which journals get in each other's way. */
export function checkConfig(config: FerryConfig, problems: ProblemList): void {
  config.journals.forEach((rule, index) => {
    const at: FieldPath = ['journals', index];
    const field = [...at, rule.kind];
    const place = rule.kind === 'path' ? rule.path : rule.dir;
    for (const [name, path] of [
      [field, place],
      [[...at, 'blobs'], rule.blobs],
    ] as const) {
      if (path === null || !isInside(config.stateDir, path)) continue;
      problems.add(
        name,
        `${path} lies inside the state directory ${config.stateDir}`,
        'move one of them, for example: state: ./state',
      );
    }
  });
  checkPlaces(config, problems);
  checkOwnFiles(config, problems);
  checkCopies(config, problems);

  const named = config.journals.flatMap((rule, index) =>
    rule.kind === 'path' ? [{ index, journal: resolveJournal(rule) }] : [],
  );
  const journals = named.map(({ journal }) => journal);
  for (const { journal, error } of checkCollisions(journals, config.destinations)) {
    const index = named.find((entry) => entry.journal === journal)?.index ?? 0;
    problems.add(['journals', index], error.message, error.hint ?? '');
  }
}

/** Of a pattern's journals the second one would be refused when it appears. */
function checkPlaces(config: FerryConfig, problems: ProblemList): void {
  config.journals.forEach((rule, index) => {
    if (rule.kind !== 'match' || !isGlob(rule.pattern)) return;
    for (const { destination: name } of rule.to) {
      const destination = config.destinations.get(name);
      if (destination?.kind !== 'wire' || destination.url.includes('{journal}')) continue;
      problems.add(
        ['journals', index, 'to'],
        `all journals of this rule would go to one place, ${destination.host}:${destination.port}/${destination.url}`,
        `write at destination ${name}: url: "{journal}.r/!replica"`,
      );
    }
  });
}

/** Links can lead to a blob only where the blob is, and never a copy into its own journal. */
function checkCopies(config: FerryConfig, problems: ProblemList): void {
  config.journals.forEach((rule, index) => {
    const copied = rule.to.find(
      ({ destination }) => config.destinations.get(destination)?.kind === 'directories',
    );
    if (copied === undefined || rule.blobs === null || config.payloads === 'spool') return;
    problems.add(
      ['journals', index, 'blobs'],
      `blobs cannot be linked to from the directories of ${copied.destination} with payloads: redis`,
      'write: payloads: spool',
    );
  });
  for (const destination of config.destinations.values()) {
    if (destination.kind !== 'directories') continue;
    for (const directory of destination.directories) {
      const rule = ruleFor(config.journals, resolve(directory, '1'));
      if (rule === null) continue;
      problems.add(
        ['destinations', destination.name, 'directories'],
        `copies in ${directory} would be taken for journals`,
        'copy into a directory without journals: directories: [./copies/]',
      );
    }
  }
}

/** A journal is emptied after it was copied: our own files must never be taken for one. */
function checkOwnFiles(config: FerryConfig, problems: ProblemList): void {
  const { receiver } = config;
  const own: [string, string | null][] = [
    ['the configuration', config.file],
    ...[...config.destinations.values()].flatMap((destination): [string, string | null][] =>
      destination.kind === 'directories'
        ? []
        : [
            ['a key', 'file' in destination.key ? destination.key.file : null],
            ['a certificate', destination.tls.caFile],
            ['a certificate', destination.tls.certFile],
            ['a key', destination.tls.keyFile],
            ['an address', destination.host.includes('/') ? destination.host : null],
          ],
    ),
    ['a certificate', receiver?.tls?.certFile ?? null],
    ['a certificate', receiver?.tls?.clientCaFile ?? null],
    ['a key', receiver?.tls?.keyFile ?? null],
    ...(config.dashboard?.users ?? []).map(({ password }): [string, string | null] => [
      'a password',
      'file' in password ? password.file : null,
    ]),
    ...(receiver?.apps ?? []).flatMap(({ keys }) =>
      keys.map((key): [string, string] => ['a key', key]),
    ),
  ];
  const said = new Set<string>();
  for (const [what, path] of own) {
    const rule = path === null ? null : ruleFor(config.journals, resolve(path));
    if (path === null || rule === null || said.has(path)) continue;
    said.add(path);
    problems.add(
      ['journals', config.journals.indexOf(rule), rule.kind],
      `${path} is ${what}, and would be emptied as a journal`,
      rule.kind === 'match'
        ? `add: exclude: [${JSON.stringify(relative(rule.dir, path))}]`
        : 'name the journal file here',
    );
  }
}

function isInside(directory: string, path: string): boolean {
  return path === directory || path.startsWith(`${directory}${sep}`);
}
