#!/usr/bin/env node
/**
 * Makes package-lock.json complete and free of registry addresses.
 *
 * A registry mirror that lacks the packages of foreign platforms makes npm leave them out of the
 * lock, and then `npm ci` refuses it ("Missing ... from lock file"). This adds every optional
 * dependency that is named but not listed, with the platform that its name tells, and drops
 * `resolved` fields. Run it after every `npm install` that changed the lock; it changes nothing
 * when nothing is missing.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const lockFile = join(dirname(fileURLToPath(import.meta.url)), '..', 'package-lock.json');
const before = readFileSync(lockFile, 'utf8');
const lock = JSON.parse(before);
const OPERATING_SYSTEMS = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'sunos',
  'win32',
];
const PROCESSORS = [
  'arm',
  'arm64',
  'ia32',
  'loong64',
  'mips64el',
  'ppc64',
  'riscv64',
  's390x',
  'x64',
];

let added = 0;
for (const parent of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`;
    if (lock.packages[path] !== undefined) continue;
    const words = name.slice(name.lastIndexOf('/') + 1).split('-');
    const os = words.find((word) => OPERATING_SYSTEMS.includes(word));
    const cpu = words.find((word) => PROCESSORS.includes(word));
    if (os === undefined || cpu === undefined || !/^\d+\.\d+\.\d+/.test(version)) {
      console.error(`fix-lock: do not know the platform of ${name}@${version}`);
      process.exitCode = 1;
      continue;
    }
    lock.packages[path] = {
      version,
      cpu: [cpu],
      ...(parent.dev ? { dev: true } : {}),
      ...(os === 'linux' && words.includes('musl') ? { libc: ['musl'] } : {}),
      license: parent.license,
      optional: true,
      os: [os],
    };
    added += 1;
  }
}
for (const entry of Object.values(lock.packages)) delete entry.resolved;
lock.packages = Object.fromEntries(
  Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
);

const after = `${JSON.stringify(lock, null, 2)}\n`;
if (after !== before) {
  writeFileSync(lockFile, after);
  console.log(`package-lock.json: ${added} optional packages added`);
}
