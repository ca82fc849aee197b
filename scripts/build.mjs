#!/usr/bin/env node
/**
 * Compiles into `dist`, copies what is not TypeScript, and bundles the commands. Alone it makes
 * everything that `npm pack` needs, also in a fresh clone.
 */
import { chmodSync, cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { ensurePackages } from './packages.mjs';
import { filesBelow, hashFiles, isMain, main, ROOT, readStamp, run, say } from './shared.mjs';

const DIST = join(ROOT, 'dist');
/** What tsconfig.json includes. */
const SOURCES = ['src', 'test', 'demo', 'bench', 'chaos', 'week', 'siege'];
const STAMP = join(DIST, '.stamp');

/** Compiles when the sources differ from those that `dist` was made of. */
export function ensureBuilt() {
  const stamp = hashSources();
  if (readStamp(STAMP) !== stamp) build(stamp);
}

/** Compiles in any case. A failed build leaves no stamp, so it is tried again. */
export function build(stamp = hashSources()) {
  say('compiling');
  rmSync(DIST, { recursive: true, force: true });
  run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json']);
  for (const top of SOURCES) {
    for (const file of filesBelow(join(ROOT, top))) {
      if (/\.[cm]?ts$/.test(file)) continue;
      const copy = join(DIST, relative(ROOT, file));
      mkdirSync(dirname(copy), { recursive: true });
      cpSync(file, copy);
    }
  }
  for (const program of ['ferry.cjs', 'ferry-ssl.cjs']) {
    const file = join(DIST, 'src/cli', program);
    if (existsSync(file)) chmodSync(file, 0o755);
  }
  run(process.execPath, [join(ROOT, 'scripts/bundle.mjs')]);
  writeFileSync(STAMP, stamp);
}

function hashSources() {
  const sources = hashFiles([
    ...['package-lock.json', 'tsconfig.json', 'scripts/build.mjs', 'scripts/bundle.mjs'].map(
      (file) => join(ROOT, file),
    ),
    ...SOURCES.flatMap((top) => filesBelow(join(ROOT, top))),
  ]);
  return `${sources} ${process.version} ${process.arch}`; // of the code cache
}

if (isMain(import.meta.url)) {
  await main(() => {
    ensurePackages();
    build();
  });
}
