#!/usr/bin/env node
/**
 * Makes a clone ready: npm packages, the build, a Redis server program, and for the tests the
 * peers that they talk to. Every step looks first, so a second run does nothing and needs no network.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBuilt } from './build.mjs';
import { ensurePackages } from './packages.mjs';
import { CACHE_DIR, isMain, main, run, SetupError, say, usePath, which } from './shared.mjs';
import { unpackServer } from './unpack.mjs';

const isRoot = process.getuid?.() === 0;
const REDIS_DIR = join(CACHE_DIR, 'redis');
const REDIS_BIN = join(REDIS_DIR, 'bin');

/** Everything that demo and tests share. */
export function setup() {
  ensurePackages();
  ensureBuilt();
  ensureRedis();
}

/** A Redis or Valkey server on the PATH: the system's, or one unpacked into the clone. */
export function ensureRedis() {
  if (existsSync(join(REDIS_BIN, 'redis-server'))) usePath(REDIS_BIN);
  if (findRedis()) return;
  if (which('apt-get')) {
    if (isRoot) aptInstall('redis-tools');
    else unpackRedis();
  } else if (which('brew')) {
    say('installing valkey with brew');
    run('brew', ['install', 'valkey']);
  }
  if (findRedis()) return;
  throw new SetupError(
    'no Redis server program found, and no way to install one here; install valkey or redis with your system’s package manager and run this again',
  );
}

/** PicoLisp, whose `bin/ssl`, `bin/httpGate` and `lib/replica.l` are the peers in the tests. */
export function ensurePicoLisp() {
  if (which('picolisp') && existsSync('/usr/lib/picolisp')) return;
  if (which('apt-get') && isRoot) aptInstall('picolisp');
  if (which('picolisp')) return;
  throw new SetupError(
    'the tests talk to PicoLisp’s own programs; install them once as root: apt-get install picolisp',
  );
}

/** The `openssl` command line, with which the tests make their certificates. */
export function ensureOpenssl() {
  if (which('openssl')) return;
  if (which('apt-get') && isRoot) aptInstall('openssl');
  if (which('openssl')) return;
  throw new SetupError('the tests need the openssl program: apt-get install openssl');
}

/** The `curl` command line with HTTP/2: a client that is not ours. */
export function ensureCurl() {
  const speaksH2 = () =>
    /^Features:.*\bHTTP2\b/m.test(String(spawnSync('curl', ['-V']).stdout ?? ''));
  if (speaksH2()) return;
  if (which('apt-get') && isRoot) aptInstall('curl');
  if (speaksH2()) return;
  throw new SetupError('the tests need a curl that speaks HTTP/2: apt-get install curl');
}

/** `pgrep` and `inotifywait`, with which scripts start daemons; the tests run such scripts. */
export function ensureScriptTools() {
  for (const [program, name] of [
    ['pgrep', 'procps'],
    ['inotifywait', 'inotify-tools'],
  ]) {
    if (which(program)) continue;
    if (which('apt-get') && isRoot) aptInstall(name);
    if (which(program)) continue;
    throw new SetupError(`the tests need the ${program} program: apt-get install ${name}`);
  }
}

/**
 * What else ships a growing file, for `npm run bench -- peers`. Without them the others are
 * measured all the same.
 *
 * Their Debian packages come with system services, which are not used here; where systemd runs,
 * installing rsyslog starts its own.
 */
export function ensureShippers() {
  const missing = () =>
    [
      ['rsyslogd', 'rsyslog'],
      ['lsyncd', 'lsyncd'],
      ['rsync', 'rsync'],
    ]
      .filter(([program]) => which(program) === null)
      .map(([, name]) => name)
      .concat(hasRelp() ? [] : ['rsyslog-relp']);
  const names = missing();
  if (names.length > 0 && which('apt-get') && isRoot) {
    try {
      for (const name of names) aptInstall(name);
    } catch (error) {
      say(error.message);
    }
  }
  if (missing().length === 0) return;
  say(
    `not every peer is here, and \`npm run bench -- peers\` leaves out what is missing; install it once as root: apt-get install ${missing().join(' ')}`,
  );
}

/** rsyslog's modules lie in a directory that is named after the kind of the machine. */
function hasRelp() {
  if (!existsSync('/usr/lib')) return false;
  return readdirSync('/usr/lib').some((dir) =>
    existsSync(join('/usr/lib', dir, 'rsyslog/imrelp.so')),
  );
}

/**
 * Chromium, in which a test of the dashboard clicks; it finds it by `FERRY_TEST_CHROMIUM`. Ubuntu
 * has none as a package: only that one test fails where there is none, and all others run.
 *
 * @returns whether it is there; said when not
 */
export function ensureChromium() {
  const isNamed = process.env.FERRY_TEST_CHROMIUM !== undefined;
  if (findChromium() === null && !isNamed && which('apt-get') && isRoot) {
    try {
      aptInstall('chromium');
    } catch (error) {
      say(error.message);
    }
  }
  const program = findChromium();
  if (program !== null) process.env.FERRY_TEST_CHROMIUM = program;
  else {
    say(
      'no Chromium, so test/dashboard/browser fails: apt-get install chromium, or install Google Chrome, or name another: FERRY_TEST_CHROMIUM=/path/to/chrome',
    );
  }
  return program !== null;
}

function findChromium() {
  const named = process.env.FERRY_TEST_CHROMIUM;
  if (named !== undefined) return existsSync(named) ? named : null;
  // Ubuntu's `chromium-browser` is a stub that starts a snap, and no snap runs in a container.
  for (const name of ['chromium', 'google-chrome']) if (which(name)) return which(name);
  const mac = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome';
  return existsSync(mac) ? mac : null;
}

/** The same names and order as the program itself uses, and the same proof: it says its version. */
function findRedis() {
  const candidates = [
    ['valkey-server', 'valkey-server'],
    ['redis-server', 'redis-server'],
    ['redis-check-rdb', 'redis-server'],
    ['valkey-check-rdb', 'valkey-server'],
  ];
  return candidates.some(([file, name]) => {
    const program = which(file);
    if (program === null) return false;
    const { stdout } = spawnSync(program, ['--version'], { argv0: name, encoding: 'utf8' });
    return /(?:server|valkey).*\bv=\d/i.test(stdout ?? '');
  });
}

const APT_OPTIONS = ['-y', '-q', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0'];
const APT_ENV = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };

function aptInstall(name) {
  say(`installing ${name} with apt-get`);
  const install = () => run('apt-get', ['install', ...APT_OPTIONS, name], { env: APT_ENV });
  try {
    install();
  } catch {
    // No package lists yet, or stale ones: the usual state of a fresh container.
    run('apt-get', ['update', '-q'], { env: APT_ENV });
    install();
  }
}

/** Without root. Debian's redis-tools holds the server under the name redis-check-rdb. */
function unpackRedis() {
  unpackServer({
    dir: REDIS_DIR,
    packageName: 'redis-tools',
    program: 'redis-check-rdb',
    name: 'redis-server',
  });
  usePath(REDIS_BIN);
}

if (isMain(import.meta.url)) await main(setup);
