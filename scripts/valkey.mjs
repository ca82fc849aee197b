/** Valkey 8 in the clone, for the tests that are to run with it. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE_DIR, run, SetupError, say, usePath, which } from './shared.mjs';
import { unpackServer } from './unpack.mjs';

const VALKEY_DIR = join(CACHE_DIR, 'valkey');
const VALKEY_BIN = join(VALKEY_DIR, 'bin');
const PACKAGE = 'valkey-tools';
const MAJOR = 8;

/**
 * Puts a Valkey server in front of the PATH: the system's if it has one, else one that is unpacked
 * into the clone. Nothing is installed, and no package source of the system is changed.
 *
 * @returns {string} its own words about its version
 */
export function ensureValkey() {
  if (existsSync(join(VALKEY_BIN, 'valkey-server'))) usePath(VALKEY_BIN);
  if (which('valkey-server') === null) {
    if (which('apt-get') === null) {
      throw new SetupError(`no valkey-server on the PATH, and no apt to get Valkey ${MAJOR} with`);
    }
    unpackServer({
      dir: VALKEY_DIR,
      packageName: PACKAGE,
      program: 'valkey-check-rdb',
      name: 'valkey-server',
      apt: sources(),
    });
    usePath(VALKEY_BIN);
  }
  const { stdout } = spawnSync('valkey-server', ['--version'], { encoding: 'utf8' });
  const version = /v=(\d+)\.[\d.]+/.exec(stdout ?? '');
  if (Number(version?.[1] ?? 0) < MAJOR) {
    throw new SetupError(`${which('valkey-server')} is no Valkey ${MAJOR}: ${stdout}`);
  }
  return `${which('valkey-server')}: ${stdout.trim()}`;
}

/** Options for apt: none where the system's sources have Valkey, else lists of our own. */
function sources() {
  if (hasPackage([])) return [];
  const [base] = run('apt-get', [
    'indextargets',
    '--format',
    '$(REPO_URI) $(CODENAME) $(SIGNED_BY)',
    'Created-By: Packages',
    'Component: main',
  ])
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, codename]) => codename !== undefined && /^[a-z]+$/.test(codename));
  if (base === undefined) throw new SetupError('apt has no package lists: run apt-get update once');
  const [uri, codename, signedBy] = base;
  say(`${PACKAGE} is not in ${codename}: looking in ${codename}-backports, with lists of our own`);
  const apt = join(VALKEY_DIR, 'apt');
  for (const part of ['lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(apt, part), { recursive: true });
  }
  const trust = signedBy?.startsWith('/') ? `[signed-by=${signedBy}] ` : '';
  writeFileSync(join(apt, 'sources.list'), `deb ${trust}${uri} ${codename}-backports main\n`);
  const settings = [
    `Dir::Etc::sourcelist=${join(apt, 'sources.list')}`,
    'Dir::Etc::sourceparts=-',
    `Dir::State::lists=${join(apt, 'lists')}`,
    `Dir::Cache=${join(apt, 'cache')}`,
    // The clone may lie where apt's own user cannot go.
    `APT::Sandbox::User=${process.env.USER ?? 'root'}`,
  ].flatMap((setting) => ['-o', setting]);
  run('apt-get', ['update', '-q', ...settings]);
  if (!hasPackage(settings)) throw new SetupError(`${codename}-backports has no ${PACKAGE}`);
  return settings;
}

function hasPackage(settings) {
  const policy = run('apt-cache', [...settings, 'policy', PACKAGE]);
  const version = /Candidate: (?:\d+:)?(\d+)\./.exec(policy);
  return Number(version?.[1] ?? 0) >= MAJOR;
}
