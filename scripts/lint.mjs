#!/usr/bin/env node
/** Formatting, lint rules and types; changes nothing. `--write` lets biome repair what it can. */
import { join } from 'node:path';
import { ensurePackages } from './packages.mjs';
import { main, ROOT, runThrough } from './shared.mjs';

await main(() => {
  ensurePackages();
  const node = (script, ...args) =>
    runThrough(process.execPath, [join(ROOT, 'node_modules', script), ...args]);
  const biome = node('@biomejs/biome/bin/biome', 'check', ...process.argv.slice(2));
  const types = node('typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit');
  return biome === 0 ? types : biome;
});
