#!/usr/bin/env node
/**
 * Puts the compiled modules of the commands, and the packages that they use, into one file, and so
 * each program that they start. To find, read and look through 300 modules was more than half of the
 * processor time of a command's start.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { build } from 'esbuild';
import { ROOT } from './shared.mjs';

const COMPILED = join(ROOT, 'dist/src');

/** The commands, and each program that they start. */
const PROGRAMS = ['cli/main.js', 'cli/doctorProgram.js', 'queue/embedded/keeper.js'];

/** What stays outside: native code, and what is loaded seldom and reads files of its own package. */
const EXTERNAL = [
  ...['fs-native-extensions', 'msgpackr-extract', 'pino-pretty'],
  ...['hono', '@hono/*', '@bull-board/*'],
];

/** Our modules load two packages with `createRequire`, at run time. Here they are to be included. */
const requiredPackages = {
  name: 'required packages',
  setup(to) {
    to.onLoad({ filter: /[/\\]queue[/\\](bullmq|ioredis)\.js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(
        /createRequire\(import\.meta\.url\)(?=\(')/,
        'require',
      ),
    }));
  },
};

await build({
  entryPoints: PROGRAMS.map((file) => join(COMPILED, file)),
  outdir: join(COMPILED, 'bundle'),
  entryNames: '[name]',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  // The only form of which V8 takes a code cache.
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  sourcesContent: false,
  external: EXTERNAL,
  define: { 'import.meta.url': 'urlOfBundle' },
  // Strict as the modules are: what stands behind the first statement is no directive any more.
  banner: {
    js: `"use strict"; const urlOfBundle = require('node:url').pathToFileURL(__filename).href;`,
  },
  plugins: [requiredPackages],
  logLevel: 'warning',
});

await createRequire(import.meta.url)(join(COMPILED, 'cli/bundle.cjs')).writeCache();
